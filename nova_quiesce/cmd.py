# SPDX-License-Identifier: Apache-2.0

"""The programs ``nova-quiesce``, ``-status`` and ``-manage``."""

# Nova decides between native threads and eventlet before anything else is
# imported.
from nova_quiesce import compat

compat.choose_threads()

import argparse  # noqa: E402
import sys  # noqa: E402
import traceback  # noqa: E402
from collections.abc import Callable  # noqa: E402
from importlib import metadata  # noqa: E402
from typing import Any  # noqa: E402

from nova import config  # noqa: E402
from nova import objects  # noqa: E402
from nova import service  # noqa: E402
from nova import version  # noqa: E402
from oslo_config import cfg  # noqa: E402
from oslo_log import log as logging  # noqa: E402
from oslo_messaging import opts as messaging_opts  # noqa: E402
from oslo_reports import guru_meditation_report as gmr  # noqa: E402
from oslo_reports import opts as gmr_opts  # noqa: E402

from nova_quiesce import conf  # noqa: E402
from nova_quiesce import db  # noqa: E402
from nova_quiesce import exceptions  # noqa: E402
from nova_quiesce import notification_states  # noqa: E402
from nova_quiesce import rpcapi  # noqa: E402
from nova_quiesce import schema  # noqa: E402
from nova_quiesce import times  # noqa: E402
from nova_quiesce.i18n import _  # noqa: E402

CONF = conf.CONF

NOTIFICATIONS = 'oslo_messaging_notifications'
#: exit code of a program that could not do anything
BROKEN = 255


def create_service(host: str | None = None) -> service.Service:
    """Return the service, not started yet.

    Nova's configuration must have been read before.

    :param host: name under which the service is known, by default ``[DEFAULT]
        host``
    """
    notification_states.register()
    return service.Service.create(
        host=host, binary=rpcapi.BINARY, topic=rpcapi.TOPIC,
        manager='nova_quiesce.manager.QuiesceManager',
        # What is due is looked up by these: from the start, and always.
        periodic_enable=True, periodic_fuzzy_delay=0)


def _bound_notifications() -> None:
    """Let a notification that its broker does not take be given up.

    An operator's own ``retry`` stays.
    """
    for group, options in messaging_opts.list_opts():
        if group == NOTIFICATIONS:
            CONF.register_opts(options, group=group)
    CONF.set_default('retry', times.BUS_RETRIES, NOTIFICATIONS)


def _answer_version() -> None:
    """Print both versions and end if that is all that was asked for.

    Nova's parser knows ``--version`` too, and would tell only its own.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(
        '--version', action='version', version='osc-quiesce %s, nova %s' % (
            metadata.version('osc-quiesce'), version.version_string()))
    parser.parse_known_args()


def main() -> None:
    """Run the service until it is told to stop."""
    _answer_version()
    config.parse_args(sys.argv)
    logging.setup(CONF, 'nova')
    objects.register_all()
    gmr_opts.set_defaults(CONF)
    objects.Service.enable_min_version_cache()
    gmr.TextGuruMeditation.setup_autorun(version, conf=CONF)
    db.bound_waits()
    _bound_notifications()
    try:
        schema.check()
    except exceptions.SchemaMissing as error:
        sys.exit(error.format_message())
    service.serve(create_service(), workers=1)
    service.wait()


def status() -> int:
    """Run ``nova-quiesce-status``, and return the exit code."""
    # What is imported here names Nova's objects.
    objects.register_all()
    from nova_quiesce import status
    return _run(status.add_parsers)


def manage() -> int:
    """Run ``nova-quiesce-manage``, and return the exit code."""
    from nova_quiesce import manage
    return _run(manage.add_parsers)


def _run(add_parsers: Callable[[Any], None]) -> int:
    """Run the command that was asked for, and return the exit code."""
    _answer_version()
    CONF.register_cli_opt(cfg.SubCommandOpt(
        'command', title=_('Commands'), handler=add_parsers))
    config.parse_args(sys.argv)
    try:
        return int(CONF.command.action())
    except KeyboardInterrupt:
        print(_('Interrupted; thaws already requested are still carried out'),
              file=sys.stderr)
        return 130
    except Exception as error:
        if CONF.debug:
            traceback.print_exc()
        print(_('ERROR (%(type)s): %(text)s') % {
            'type': type(error).__name__,
            'text': exceptions.first_line(error)}, file=sys.stderr)
        return BROKEN


if __name__ == '__main__':
    main()
