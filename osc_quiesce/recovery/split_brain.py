# SPDX-License-Identifier: Apache-2.0

"""Whether the servers run already: twice must not happen unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
import contextlib
import logging
from typing import Any, Final

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce import concurrency
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import restore_plan

LOG = logging.getLogger(__name__)

#: statuses of servers that do not run
_STOPPED: Final = frozenset({'SHUTOFF', 'SHELVED', 'SHELVED_OFFLOADED',
                             'SOFT_DELETED', 'DELETED', 'ERROR'})
#: of Nova, shown to all users
_POWER_STATE: Final = 'OS-EXT-STS:power_state'
_RUNNING: Final = 1
# Those of keystoneauth that warn of a site that does not answer
_LOGGERS: Final = ('keystoneauth.identity.generic.base',
                   'keystoneauth.discover', 'keystoneauth.session')


def problems(cloud: cloud_api.Cloud, servers: Iterable[Mapping[str, Any]],
             options: restore_plan.Options) -> list[str]:
    """Return which of the servers run, here or at the site of the source.

    :param cloud: the site where is restored
    :param servers: what is recorded of them
    """
    if options.force or not options.start:
        return []
    wanted = list(servers)
    if not wanted:
        return []
    found = _statuses(cloud, wanted)
    if options.source:
        try:
            with _without_warnings():
                there = _statuses(options.source, wanted)
            if not there:
                LOG.warning(
                    _('Cloud %(name)s has none of the servers of the source: '
                      'they were deleted, or this is another project than '
                      'theirs. Make sure that they do not run.'),
                    {'name': options.source_name})
            found += there
        except cloud_api.CloudError as exc:
            LOG.debug('%s', exc)
            LOG.warning(
                _('Cloud %(name)s cannot be asked whether the servers run '
                  'there (%(why)s): make sure that they cannot.'),
                {'name': options.source_name,
                 'why': _('HTTP %d') % exc.status if exc.status
                 else _('no usable answer')})
    running = sorted({each for each in found if each[1] not in _STOPPED})
    if not running:
        return []
    return [_('Servers of the source are %(statuses)s: %(servers)s. Stop them '
              'or fence their site first, or else the application runs twice; '
              '--force accepts that.') % {
                  'statuses': ', '.join(sorted({each[1] for each in running})),
                  'servers': ', '.join(each[0] for each in running)}]


def check(cloud: cloud_api.Cloud, plan: restore_plan.Plan) -> None:
    """Ask once more, just before servers are made.

    Restoring and proving take hours, in which a site may have come back.

    :raises errors.ApplicationError: servers of the source run by now
    """
    chosen = set(plan.options.servers)
    found = problems(cloud, [
        each for each in plan.point.servers
        if not chosen or chosen & {each['id'], each['name']}], plan.options)
    if found:
        raise errors.ApplicationError(
            _('No server was started. %s') % ' '.join(found),
            _('The restored volumes are kept, and the same command again goes '
              'on.'))


def _statuses(cloud: cloud_api.Cloud, servers: Sequence[Mapping[str, Any]]
              ) -> list[tuple[str, str]]:
    """Return what servers that are there are called, and their statuses."""
    def look(server: Mapping[str, Any]) -> tuple[str, str] | None:
        try:
            found = cloud.compute('GET', f'/servers/{server["id"]}')['server']
        except cloud_api.NotThere:
            return None
        status = found['status']
        if status == 'ERROR' and found.get(_POWER_STATE) == _RUNNING:
            # As after a migration or a thaw that failed.
            status = _('ERROR with a running guest')
        return model.label(server['id'], server['name']), status

    # The first one alone: a site that does not answer costs minutes.
    first, *others = servers
    return [each for each in (
        look(first), *concurrency.run_all(look, others)) if each]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Show only with --debug what keystoneauth warns of: ours says it."""

    def lower(record: logging.LogRecord) -> bool:
        if record.levelno == logging.WARNING:
            record.levelno = logging.DEBUG
            record.levelname = logging.getLevelName(logging.DEBUG)
        return True

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for each in loggers:
        each.addFilter(lower)
    try:
        yield
    finally:
        for each in loggers:
            each.removeFilter(lower)
