# SPDX-License-Identifier: Apache-2.0

"""python-novaclient extension: ``nova quiesce`` and ``nova unquiesce``.

And for Python programs a manager, ``client.quiesce``. novaclient finds this
module by its entry point, takes every function ``do_...`` for a command, and
the one manager class for an attribute with the name of the entry point. All
else is in :mod:`osc_quiesce.cli` and :mod:`osc_quiesce.client`.
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import functools
import sys
from typing import Any, TypeVar

from novaclient import base
from novaclient import exceptions as nova_exceptions
from novaclient import utils

from osc_quiesce.cli import interrupts
from osc_quiesce.cli import options
from osc_quiesce.cli import quiesce
from osc_quiesce.cli import base as cli
from osc_quiesce.cli import unquiesce
from osc_quiesce import client as quiesce_client
from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import verbs

_C = TypeVar('_C', bound=cli.Command)

# What callers of novaclient catch; all others are bad requests.
_REFUSALS = {errors.Conflict: nova_exceptions.Conflict,
             errors.Unauthorized: nova_exceptions.Unauthorized,
             errors.Forbidden: nova_exceptions.Forbidden,
             errors.ServerNotFound: nova_exceptions.NotFound}


class QuiesceManager(base.Manager):
    """Quiesces and unquiesces servers; an attribute of novaclient's client.

    A server is a :class:`novaclient.v2.servers.Server` or a UUID.
    """

    @functools.cached_property
    def library(self) -> quiesce_client.Client:
        """The library underneath, with the session of this client.

        It waits, and freezes groups (:mod:`osc_quiesce.group`).
        """
        http = self.client
        return quiesce_client.Client(
            session=http.session, auth=http.auth,
            service_type=http.service_type, service_name=http.service_name,
            region_name=http.region_name, interface=http.interface,
            endpoint_override=http.endpoint_override,
            global_request_id=http.global_request_id)

    def quiesce(self, server: Any, unquiesce_after: int | None = None) -> str:
        """Ask Nova to freeze the file systems of a server.

        :param unquiesce_after: after how many seconds of being frozen the
            cloud thaws the server automatically
        :returns: the id of the request
        :raises novaclient.exceptions.ClientException: Nova has refused it;
            nothing was changed
        :raises errors.QuiesceError: anything else, as in
            :meth:`osc_quiesce.client.Client.quiesce`
        """
        with _novaclient_errors():
            return self.library.quiesce(base.getid(server), unquiesce_after)

    def unquiesce(self, server: Any) -> str | None:
        """Ask Nova to thaw the file systems of a server.

        :returns: the id of the request; None if it began no thaw: the server
            is not quiesced any more, or another request is thawing it
        :raises Exception: as :meth:`quiesce`
        """
        with _novaclient_errors():
            return self.library.unquiesce(base.getid(server)).request_id


@contextlib.contextmanager
def _novaclient_errors() -> Iterator[None]:
    """Let a refusal be an error of novaclient, caused by ours."""
    try:
        yield
    except errors.ServiceUnavailable as exc:
        if exc.http_status == nova_exceptions.RateLimit.http_status:
            raise nova_exceptions.RateLimit(
                exc.http_status, str(exc), retry_after=exc.retry_after
            ) from exc
        raise nova_exceptions.ClientException(
            exc.http_status, str(exc)) from exc
    except errors.Refused as exc:
        error = next((theirs for ours, theirs in _REFUSALS.items()
                      if isinstance(exc, ours)), nova_exceptions.BadRequest)
        raise error(error.http_status, str(exc)) from exc


_server_argument = utils.arg('server', metavar='<server>', help=_(
    'Name or ID of server; one of another project by ID.'))


@_server_argument
@utils.arg('--unquiesce-after', metavar='<seconds>',
           type=options.number, default=None, help=_(
               'Have the cloud unquiesce the server automatically this many '
               'seconds after it was quiesced (default: set by the cloud).'))
@utils.arg('--poll', dest='poll', action='store_true', default=False,
           help=_('Wait until the server is quiesced. If it fails, or on '
                  'Ctrl-C, SIGTERM or SIGHUP, the server is thawed.'))
def do_quiesce(cs: Any, args: argparse.Namespace) -> None:
    _run(cs, args, quiesce.Quiesce, lambda command: command.quiesce(
        [args.server], wait=args.poll, unquiesce_after=args.unquiesce_after),
        _('Request to quiesce server %s has been accepted.'))


# novaclient shows it as the help of the command.
do_quiesce.__doc__ = _(
    'Freeze the file systems of a server (admin only by default).')


@_server_argument
@utils.arg('--poll', dest='poll', action='store_true', default=False,
           help=_('Wait until the server is thawed, and verify that.'))
def do_unquiesce(cs: Any, args: argparse.Namespace) -> None:
    _run(cs, args, unquiesce.Unquiesce, lambda command: command.unquiesce(
        [args.server], wait=args.poll),
        _('Request to unquiesce server %s has been accepted.'))


do_unquiesce.__doc__ = _(
    'Thaw the file systems of a quiesced server (admin only by default).')


def _run(cs: Any, args: argparse.Namespace, new_command: Callable[..., _C],
         work: Callable[[_C], list[verbs.Job]], accepted: str) -> None:
    """Run a command, and exit unless all went well.

    :param accepted: what to say of a server that is not waited for
    """
    command = new_command(
        lambda: cs.quiesce.library, options.progress, 'nova unquiesce')

    def work_and_tell() -> None:
        for job in work(command):
            if not command.exit_code:
                print(_result(job) if args.poll
                      else accepted % job.server.label)

    exit_code = interrupts.end(command.run(work_and_tell, sys.stdout))
    if exit_code:
        sys.exit(exit_code)


def _result(job: verbs.Job) -> str:
    text = _('Server %(server)s is %(status)s.') % {
        'server': job.server.label, 'status': job.server.status}
    if job.unquiesce_at:
        text += ' ' + _('The cloud thaws it at %s.') % job.unquiesce_at
    return text
