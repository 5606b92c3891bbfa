# SPDX-License-Identifier: Apache-2.0

"""The main program of each process of a cloud; started by minicloud only.

``python -m minicloud.process ROLE --root R --token T ...``. It runs one role
until it is told to end, or until the root's token is not its own any more,
so that nothing survives a root directory that somebody removed.
"""

import argparse
import gc
import importlib
import os
import signal
import socket
import sys
import threading
import time
import warnings

from minicloud import config
from minicloud import processes
from minicloud.layout import Layout
from minicloud.roles import Context

BEGAN = time.monotonic()
#: Seconds to clean up in when the root directory is gone.
PATIENCE = 5.0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=processes.MODULE)
    parser.add_argument('role')
    parser.add_argument('--root', required=True)
    parser.add_argument('--token', required=True)
    parser.add_argument('--digest', required=True)
    parser.add_argument('--driver', default='fake')
    parser.add_argument('--database', default='sqlite')
    parser.add_argument('--storage', default='fake')
    parser.add_argument('--cells', type=int, default=1)
    parser.add_argument('--cell', type=int, default=0)
    parser.add_argument('--quiesce', action='store_true')
    parser.add_argument('--service', action='append', default=[])
    parser.add_argument('--before', action='append', default=[])
    parser.add_argument('--socket', action='append', default=[])
    return parser.parse_args(argv)


def context_of(args: argparse.Namespace) -> Context:
    """Return what a process was started with."""
    sockets = {}
    for item in args.socket:
        name, _, number = item.partition('=')
        sockets[name] = socket.socket(fileno=int(number))
    services = []
    for item in args.service:
        name, _, host = item.partition('@')
        services.append((name, host))
    return Context(
        role=args.role, layout=Layout.of(args.root), token=args.token,
        sockets=sockets, driver=args.driver, database=args.database,
        storage=args.storage, cells=args.cells, cell=args.cell,
        quiesce=args.quiesce, services=services, before=args.before)


def main() -> int:
    # What a service loads stays: to look for garbage in it takes a sixth of
    # the processor time of a start.
    gc.disable()
    args = parse(sys.argv[1:])
    warnings.simplefilter('ignore')
    # Several services read the command line themselves.
    sys.argv = [args.role]
    layout = Layout.of(args.root)
    print(f'--- {args.role}, process {os.getpid()}, '
          f'{time.strftime("%Y-%m-%d %H:%M:%S")}', flush=True)

    def told(ready: bool) -> None:
        processes.write_json(layout.pid_of(args.role), {
            'pid': os.getpid(), 'ready': ready,
            'start': processes.start_time(os.getpid()),
            'seconds': round(time.monotonic() - BEGAN, 1)})

    finished = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Services start threads that would outlive a normal exit.
        signal.signal(number, lambda *_args: os._exit(0))
    context = context_of(args)
    preparing = args.role.startswith('prepare-')
    module, _, what = config.kind_of(args.role).partition('-')
    if context.services:
        module = 'compute'
    if not preparing:
        told(False)
    threading.Thread(target=_watch, args=(context,), daemon=True).start()
    run = importlib.import_module(f'minicloud.roles.{module}').run
    if preparing:
        try:
            run(context, what)
        except SystemExit as leaving:    # some commands end like this
            if leaving.code not in (None, 0):
                raise
        return 0
    keep = run(context)
    gc.freeze()
    gc.enable()
    told(True)
    print(f'--- {args.role} is ready', flush=True)

    _end_when_told(context)
    # A signal that another thread receives does not wake this one, which
    # is the one that acts upon it.
    while not finished.wait(1):
        pass
    del keep
    return 0


def _end_when_told(context: Context) -> None:
    """Set what happens on a signal to end."""
    def end(*_args: object) -> None:
        for clean in context.at_end:
            clean()
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        # The services may have put their own handlers there.
        signal.signal(number, end)


def _watch(context: Context) -> None:
    while processes.token_of(context.layout) == context.token:
        time.sleep(2)
    print('--- the root directory is gone or another: ending', flush=True)
    # What has lost its files may not end.
    timer = threading.Timer(PATIENCE, os._exit, (0,))
    timer.daemon = True
    timer.start()
    for clean in context.at_end:
        clean()
    os._exit(0)


if __name__ == '__main__':
    try:
        code = main()
    except BaseException:
        import traceback
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
