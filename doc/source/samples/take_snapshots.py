# SPDX-License-Identifier: Apache-2.0

"""Take a snapshot of each volume of servers, while all of them are frozen.

Usage: take_snapshots.py CLOUD NAME SERVER [SERVER ...]

CLOUD is an entry of clouds.yaml. The servers are frozen in this order.
"""

import contextlib
import signal
import sys
import time

import openstack
from osc_quiesce import client
from osc_quiesce import group


class Stop:
    """Ends the program on a signal, between two requests."""

    noted = None
    shielded = False

    def note(self, signum, frame):
        self.noted = signum

    def check(self):
        if self.noted and not self.shielded:
            raise SystemExit(128 + self.noted)

    def sleep(self, seconds):
        time.sleep(seconds)
        self.check()

    @contextlib.contextmanager
    def shield(self):
        self.shielded = True
        try:
            yield
        finally:
            self.shielded = False


def discard(storage, snapshots):
    for snapshot in snapshots:
        # Cinder deletes no snapshot that it is still making, but one in error.
        with contextlib.suppress(Exception):
            storage.wait_for_status(
                snapshot, 'available', ['error'], interval=0.2, wait=60)
        try:
            storage.delete_snapshot(snapshot)
        except Exception as error:  # must not hide why it is discarded
            print(f'Delete snapshot {snapshot.id}: {error}', file=sys.stderr)


def take(cloud, name, servers, stop):
    connection = openstack.connect(cloud=cloud)
    storage = connection.block_storage
    quiesce = client.Client(adapter=connection.compute, sleep=stop.sleep)
    stages = [[quiesce.find_server(server)] for server in servers]
    volumes = []
    for [server] in stages:  # local disks are in no snapshot
        attached = list(connection.compute.volume_attachments(server.id))
        if not attached:
            sys.exit(f'Server {server.name} has no volumes.')
        volumes += [each.volume_id for each in attached]
    snapshots = []
    try:
        with group.quiesced(quiesce, stages, timeout=30, unquiesce_after=120,
                            shield=stop.shield) as frozen:
            for volume in volumes:
                stop.check()  # nothing else looks at it in this block
                # If this answer is lost, look for the name later.
                snapshots.append(storage.create_snapshot(
                    volume_id=volume, name=name, is_forced=True))
            for snapshot in snapshots:
                stop.check()
                storage.wait_for_status(
                    snapshot, 'available', ['error'], interval=0.2, wait=60)
        frozen.verify()  # raises if a server did not stay frozen
        stop.check()
    except BaseException:
        discard(storage, snapshots)
        raise
    print(f'Snapshots: {len(snapshots)}. Servers were frozen for at most '
          f'{frozen.report.window:.1f} s.')


if __name__ == '__main__':
    stop = Stop()
    for signum in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, stop.note)
    take(sys.argv[1], sys.argv[2], sys.argv[3:], stop)
