# SPDX-License-Identifier: Apache-2.0

"""Answers of the cloud, as plain data."""

from collections.abc import Mapping
import dataclasses
import datetime
from typing import Any, Self
import uuid


@dataclasses.dataclass(frozen=True)
class Server:
    """A server: its UUID, and as much of the rest as is known.

    :param status: as people see it, such as ``ACTIVE``
    :param fault: the message of its last fault, if it is in error
    """

    id: str
    name: str = ''
    status: str = ''
    vm_state: str | None = None
    task_state: str | None = None
    fault: str | None = None

    @classmethod
    def of(cls, server: Self | str) -> Self:
        """Return the server itself, or one of which the UUID is known."""
        # As Nova writes it: it may accept others, and answers are compared.
        return cls(server.lower()) if isinstance(server, str) else server

    @classmethod
    def from_api(cls, body: Mapping[str, Any]) -> Self:
        """Return the server that this part of an answer describes."""
        return cls(id=body['id'], name=body.get('name') or '',
                   status=body.get('status') or '',
                   vm_state=body.get('OS-EXT-STS:vm_state'),
                   task_state=body.get('OS-EXT-STS:task_state'),
                   fault=(body.get('fault') or {}).get('message'))

    @property
    def label(self) -> str:
        """What messages call it."""
        return label(self.id, self.name)


@dataclasses.dataclass(frozen=True)
class Freeze:
    """A guest that is, or may be, frozen, by the table of freezes.

    :param request_id: the request to quiesce that has frozen it
    :param state: ``asked``, ``freezing``, ``frozen`` or ``thawing``; by a
        request, also ``thawed``, or ``lapsed`` if the guest had ended the
        freeze before its thaw
    :param requested_at: such as ``2026-11-23T03:43:00Z``, as all times are
    :param frozen_at: None if the guest is not frozen yet
    :param unquiesce_at: when the cloud thaws it automatically; None if it does
        not, or if the guest is not frozen yet
    :param attempts: number of thaws that failed
    :param error: why its server is in error; None if it is not
    """

    server_id: str
    server_name: str | None
    project_id: str | None
    user_id: str | None
    request_id: str
    state: str
    requested_at: str
    frozen_at: str | None
    unquiesce_at: str | None
    attempts: int
    error: str | None


@dataclasses.dataclass(frozen=True)
class Unquiesced:
    """What a request to unquiesce has come to.

    :param request_id: its own id; None if nothing was begun
    :param state: None if a thaw was begun, or the freeze given up; else what
        the request to quiesce has become: ``thawing``, ``ended`` or
        ``withdrawn``
    :param message: the same in the cloud's words; '' if a thaw was begun
    """

    request_id: str | None
    state: str | None = None
    message: str = ''


@dataclasses.dataclass(frozen=True)
class Result:
    """How the instance action of a request has ended.

    :param result: ``states.SUCCESS`` or ``states.FAILURE``; None if it has
        not ended, or if the caller may not see it
    :param reason: why it has failed, if the caller may see that
    :param unquiesce_at: when the cloud thaws the guest automatically, as in
        :class:`Freeze`
    """

    result: str | None = None
    reason: str | None = None
    unquiesce_at: str | None = None


def is_uuid(text: str) -> bool:
    """Return whether a text may be the UUID of a server."""
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def label(server_id: str, name: str | None) -> str:
    """Return what messages call a server: its name and UUID."""
    return f'{name} ({server_id})' if name else server_id


def new_request_id() -> str:
    """Return an id for a request to quiesce."""
    return f'req-{uuid.uuid4()}'


def utc_text(when: datetime.datetime) -> str:
    """Return how messages, tables and the quiesce API write a time."""
    return when.astimezone(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def utc_now() -> str:
    """Return the time of this machine in the same way."""
    return utc_text(datetime.datetime.now(datetime.UTC))


def check_unquiesce_after(seconds: int) -> None:
    """Raise ValueError unless this is a whole number of seconds above 0."""
    if type(seconds) is not int or seconds < 1:
        raise ValueError(f'unquiesce_after is {seconds!r}, not a whole '
                         'number of seconds above 0')
