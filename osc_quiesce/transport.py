# SPDX-License-Identifier: Apache-2.0

"""One HTTP request to Nova, sent once, and what its answer means.

Turns what can happen on the way, in keystoneauth and in Nova, into the
errors of :mod:`osc_quiesce.exceptions`. It never repeats a request, whatever
the adapter is told elsewhere: only the caller knows what may be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import copy
import datetime
import email.utils
from typing import Any, Final
from urllib import parse

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
import requests

from osc_quiesce import exceptions
from osc_quiesce.i18n import _

REQUEST_TIMEOUT: Final = 30.0  # seconds, if the session has no timeout


def bounded(session: ksa_session.Session) -> ksa_session.Session:
    """Return a session like this one in which no request waits for ever.

    Those that renew the token are not ours to send, so only a session of our
    own can bound them. The one that was given has other users.
    """
    ours = copy.copy(session)
    ours.timeout = REQUEST_TIMEOUT
    ours._session = None  # else its end would close the connections
    return ours


def send(
    adapter: ksa_adapter.Adapter,
    method: str,
    path: str,
    server_id: str | None,
    **kwargs: Any,
) -> requests.Response:
    """Send one request once: who calls decides what may be repeated.

    :param server_id: whom it is about; errors that end the matter name it
    """
    if getattr(adapter.session, 'timeout', None) is None:
        kwargs['timeout'] = REQUEST_TIMEOUT
    try:
        return adapter.request(
            path,
            method,
            raise_exc=False,
            connect_retries=0,
            status_code_retries=0,
            microversion_service_type='compute',
            **kwargs,
        )
    except ksa_exceptions.HttpError as exc:
        # Only Keystone's answers come this way.
        if exc.http_status in (429, *range(500, 600)):
            raise exceptions.Unreachable(str(exc)) from exc
        raise exceptions.Unauthorized(
            _not_asked(exc, server_id), server_id=server_id
        ) from exc
    except (
        ksa_exceptions.ConnectionError,
        ksa_exceptions.InvalidResponse,  # from Keystone, or a proxy
        OSError,  # such as a file of certificates that is being replaced
    ) as exc:
        raise exceptions.Unreachable(str(exc)) from exc
    except ksa_exceptions.ClientException as exc:
        raise exceptions.QuiesceError(
            _not_asked(exc, server_id), server_id=server_id
        ) from exc


def _not_asked(error: Exception, server_id: str | None) -> str:
    return (
        _('could not be asked: %s') % error if server_id else str(error)
    )


def raise_for_status(
    response: requests.Response, server_id: str | None
) -> None:
    """Raise what an HTTP status means, in the server's own words."""
    status, text = response.status_code, text_of(response)
    if status < 400:
        return
    # What a proxy says with 404 is not that the server is gone.
    by_proxy = status == 404 and not _message_of(response)
    if status == 429 or status >= 500 or by_proxy:
        error = exceptions.Unreachable(text, server_id=server_id)
        error.retry_after = retry_after(response)
        raise error
    refused: type[exceptions.Refused] = {
        401: exceptions.Unauthorized,
        403: exceptions.Forbidden,
        404: exceptions.ServerNotFound,
        409: exceptions.Conflict,
    }.get(status, exceptions.Refused)
    if status == 400 and 'no such action' in text:
        refused = exceptions.NotInstalled
    message = _('is left as it was: %s') % text if server_id else text
    raise refused(message, server_id=server_id)


def text_of(response: requests.Response) -> str:
    """Return the message of an error, as Nova or a proxy wrote it."""
    return (
        _message_of(response)
        or f'HTTP {response.status_code} {response.reason or ""}'.rstrip()
    )


def _message_of(response: requests.Response) -> str:
    """Return the message of an error of Nova; '' if it is not one."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        for part in body.values():  # {"conflictingRequest": {"message": ...}}
            if isinstance(part, dict) and part.get('message'):
                return str(part['message'])
    return ''


def json_of(
    response: requests.Response, server_id: str | None
) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise exceptions.Unreachable(
            _('the answer of the compute endpoint is not JSON'),
            server_id=server_id,
        )
    return body


def quoted(text: str) -> str:
    """Return a text as one part of a path."""
    return parse.quote(text, safe='')


@contextlib.contextmanager
def understood(server_id: str | None = None) -> Iterator[None]:
    """Turn what goes wrong with an odd answer into an error in words.

    Valid JSON may still not be what Nova answers, for example if a proxy has
    written it.
    """
    try:
        yield
    except (AttributeError, KeyError, TypeError, ValueError) as exc:
        raise exceptions.Unreachable(
            _('the answer of the compute endpoint is not one of Nova'),
            server_id=server_id,
        ) from exc


def retry_after(response: requests.Response) -> float:
    """Return the seconds that a Retry-After header asks for, or 0."""
    value = response.headers.get('retry-after', '')
    if value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return 0.0
    now = parse_http_date(
        response.headers.get('date')
    ) or datetime.datetime.now(datetime.UTC)
    return max(0.0, (when.replace(tzinfo=now.tzinfo) - now).total_seconds())


def parse_http_date(value: str | None) -> datetime.datetime | None:
    """Return the time that a Date header tells, if it tells one."""
    try:
        return email.utils.parsedate_to_datetime(value or '').replace(
            tzinfo=datetime.UTC
        )
    except ValueError:
        return None


def parse_nova_date(value: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(value.removesuffix('Z')).replace(
        tzinfo=datetime.UTC
    )
