# SPDX-License-Identifier: Apache-2.0

"""Whether a restored server works: a command of the user's, and its agent.

That a server is active says nothing of the system in it. A quiesce and an
unquiesce do: it is the guest's agent that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
import contextlib
import dataclasses
import os
import subprocess
import time
from typing import Any, Final

from osc_quiesce import client as quiesce_client
from osc_quiesce import errors as quiesce_errors
from osc_quiesce import group
from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce import model
from osc_quiesce.recovery import resolved
from osc_quiesce import retry

#: seconds after which the cloud thaws a guest automatically
_UNQUIESCE_AFTER: Final = 60
#: seconds for one attempt of an agent
_AGENT_TIMEOUT: Final = 30.0
#: seconds between two looks whether a signal wants the command to end
_GLANCE: Final = 0.5

ANSWERED: Final = 'answered'
NOT_ASKED: Final = 'not_asked'


class CheckFailed(errors.ApplicationError):
    """A server is active, but does not work."""


@dataclasses.dataclass(frozen=True)
class Checker:
    """Checks servers, again and again, until they work.

    :param command: for ``/bin/sh -c``; empty for none
    :param timeout: seconds in which a server must work
    :param shield: as for :func:`group.quiesced`
    """

    client: quiesce_client.Client
    command: str
    timeout: float
    asks_agents: bool = True
    shield: Callable[
        [], contextlib.AbstractContextManager[Any]
    ] = contextlib.nullcontext

    def agent(self, server: resolved.Server, found: Mapping[str, Any]) -> str:
        """Return when the guest's agent has answered, or was not asked.

        :returns: ANSWERED; or NOT_ASKED if the guest is not said to have one,
            or the caller may not quiesce, or does not want it
        :raises CheckFailed: it did not answer in time
        """
        if not self.asks_agents or not _has_agent(server):
            return NOT_ASKED
        guest = model.Server(found['id'], found['name'])
        deadline = self.client.timer.clock() + self.timeout
        pauses = retry.pauses()
        while True:
            try:
                with group.quiesced(self.client, [[guest]], _AGENT_TIMEOUT,
                                    _UNQUIESCE_AFTER, None, self.shield):
                    pass
                return ANSWERED
            except (quiesce_errors.NotInstalled, quiesce_errors.Forbidden):
                return NOT_ASKED
            except quiesce_errors.ThawFailed:
                raise  # it must not be frozen again
            except quiesce_errors.QuiesceError as exc:
                if self.client.timer.clock() > deadline:
                    raise CheckFailed(
                        _('The agent in server %(server)s did not answer '
                          'within %(seconds)g s: %(why)s.') % {
                              'server': guest.label, 'seconds': self.timeout,
                              'why': str(exc).rstrip('.')},
                        _('The server is left as it is.')) from exc
            self.client.timer.sleep(next(pauses))

    def run(self, server: resolved.Server, found: Mapping[str, Any]) -> None:
        """Run the command until it succeeds.

        :raises CheckFailed: it did not in time
        """
        if not self.command:
            return
        deadline = self.client.timer.clock() + self.timeout
        pauses = retry.pauses()
        while True:
            left = max(1.0, deadline - self.client.timer.clock())
            why = self._attempt(server, found, left)
            if not why:
                return
            if self.client.timer.clock() > deadline:
                raise CheckFailed(
                    _('The check of server %(server)s failed for %(seconds)g '
                      's: %(why)s.') % {
                          'server': model.label(found['id'], found['name']),
                          'seconds': self.timeout, 'why': why},
                    _('The server is left as it is, and later stages are not '
                      'started.'))
            self.client.timer.sleep(next(pauses))

    def _attempt(self, server: resolved.Server, found: Mapping[str, Any],
                 seconds: float) -> str:
        """Return why the command failed, or an empty text."""
        addresses = addresses_of(found)
        try:
            code, said = self._run({
                **os.environ,
                # That of the source, also in a drill: one command checks both.
                'OSC_QUIESCE_SERVER': server.name,
                'OSC_QUIESCE_SERVER_ID': found['id'],
                'OSC_QUIESCE_STAGE': str(server.stage + 1),
                'OSC_QUIESCE_ADDRESS': (addresses or [''])[0],
                'OSC_QUIESCE_ADDRESSES': ' '.join(addresses)}, seconds)
        except subprocess.TimeoutExpired:
            return _('it did not end')
        except OSError as exc:
            return str(exc)
        if code == 0:
            return ''
        return _('exit code %(code)d%(said)s') % {
            'code': code, 'said': f', {said[-1]}' if said else ''}

    def _run(self, environment: Mapping[str, str],
             seconds: float) -> tuple[int, list[str]]:
        """Run the command once; return its exit code, and what it said.

        :raises subprocess.TimeoutExpired: it did not end, and is killed
        """
        end = time.monotonic() + seconds
        with subprocess.Popen(  # noqa: S603
                ['/bin/sh', '-c', self.command], env=environment,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
                errors='replace') as process:
            try:
                while True:
                    self.client.timer.sleep(0)  # where a signal may stop us
                    try:
                        out, err = process.communicate(timeout=_GLANCE)
                        break
                    except subprocess.TimeoutExpired:
                        if time.monotonic() > end:
                            raise
            except BaseException:
                process.kill()
                raise
        return process.returncode, (err.strip() or out.strip()).splitlines()


def addresses_of(server: Mapping[str, Any]) -> list[str]:
    """Return the addresses of a server that Nova shows, in their order."""
    return [address['addr'] for each in (server.get('addresses')
                                         or {}).values() for address in each]


def _has_agent(server: resolved.Server) -> bool:
    """Return whether a guest is said to have an agent."""
    recorded = server.manifest
    boot = next((v for v in server.volumes if v.get('boot_index') == 0), {})
    said: dict[str, Any] = {**(recorded.get('image_properties') or {}),
                            **(boot.get('image_metadata') or {})}
    return str(said.get('hw_qemu_guest_agent', '')).lower() in (
        'true', 'yes', '1', 'on', 't', 'y')
