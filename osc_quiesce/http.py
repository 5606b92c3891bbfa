# SPDX-License-Identifier: Apache-2.0

"""One HTTP request to Nova, sent once, and what its answer means.

This is where a status is judged. An answer is a refusal only if Nova itself
has refused, also with 429 or 503 (:class:`errors.ServiceUnavailable`).
Anything else (another 5xx, a page of a proxy, silence) leaves the outcome of
the request unknown, and is :class:`errors.Unreachable`.

No request is repeated here, whatever the adapter is told elsewhere: only the
caller knows what may be repeated.
"""

from collections.abc import Callable, Iterator, Mapping
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

from osc_quiesce import errors
from osc_quiesce.i18n import _
from osc_quiesce import model

#: seconds for one request, unless the session has a shorter timeout
REQUEST_TIMEOUT: Final = 30.0

# The key of the body with which Nova itself answers these, and all others.
# Source: nova.api.openstack.wsgi.Fault. A 401 is of Keystone's middleware.
_FAULTS: Final = {
    400: 'badRequest', 403: 'forbidden', 404: 'itemNotFound', 405: 'badMethod',
    409: 'conflictingRequest', 413: 'overLimit', 415: 'badMediaType',
    429: 'overLimit', 503: 'serviceUnavailable'}
_OTHER_FAULT: Final = 'computeFault'
_NO_ROUTE: Final = 'Not Found'
_NOT_SENT: Final = _(
    'Server %(server)s: the request could not be sent: %(why)s')
_REFUSALS: Final[dict[int, type[errors.Refused]]] = {
    401: errors.Unauthorized,
    403: errors.Forbidden,
    404: errors.ServerNotFound,
    409: errors.Conflict,
    429: errors.ServiceUnavailable,
    503: errors.ServiceUnavailable}


def bounded(session: ksa_session.Session) -> ksa_session.Session:
    """Return a session like this one in which no silence lasts for long.

    Requests for a new token use the session's timeout, and all threads wait
    for that token. It must not change for the session's other users; hence a
    copy. It keeps what ``--timing`` shows.
    """
    ours = copy.copy(session)
    ours.timeout = min(session.timeout or REQUEST_TIMEOUT, REQUEST_TIMEOUT)
    ours._session = None  # else its end would close the connections
    return ours


def adapter_of(session: ksa_session.Session | None,
               adapter: ksa_adapter.Adapter | None,
               **adapter_kwargs: Any) -> ksa_adapter.Adapter:
    """Return an adapter without endless requests.

    :param session: to make one of the compute endpoint of, if there is none
    :param adapter_kwargs: for the adapter that is made of a session
    """
    if adapter is None:
        if session is None:
            raise TypeError('a session or an adapter is needed')
        adapter_kwargs.setdefault('service_type', 'compute')
        if not adapter_kwargs.keys() & {
                'endpoint_override', 'version', 'min_version', 'max_version'}:
            # Lets the catalog name the endpoint without its version.
            adapter_kwargs.update(min_version='2', max_version='2.latest')
        adapter = ksa_adapter.Adapter(
            session, client_name='osc-quiesce', **adapter_kwargs)
    # Before the copy: openstacksdk's stand-in for a service that there is not
    # raises here, and cannot be copied.
    session = bounded(adapter.session)
    adapter = copy.copy(adapter)
    adapter.session = session
    return adapter


def send(adapter: ksa_adapter.Adapter, method: str, path: str,
         server: model.Server | None = None,
         **kwargs: Any) -> requests.Response:
    """Send one request once, and return an answer that is not an error.

    :param server: the server that the request is about, for messages
    :raises errors.Refused: nothing was changed
    :raises errors.Unreachable: no usable answer
    """
    try:
        # Past that of openstacksdk, whose answers may be of a cache.
        response = ksa_adapter.Adapter.request(
            adapter, path, method, raise_exc=False, connect_retries=0,
            status_code_retries=0, microversion_service_type='compute',
            # Else Nova answers what it has no route for in HTML.
            headers={'Accept': 'application/json'},
            **kwargs)
    except ksa_exceptions.HttpError as exc:
        # Only Keystone's answers come this way.
        if exc.http_status in (429, *range(500, 600)):
            raise _unusable(server, str(exc)) from exc
        raise _about(server, errors.Unauthorized, str(exc), _NOT_SENT) from exc
    except (
        ksa_exceptions.ConnectionError,
        ksa_exceptions.InvalidResponse,  # from Keystone, or a proxy
        OSError,  # such as a file of certificates that is being replaced
    ) as exc:
        raise _unusable(server, str(exc)) from exc
    except ksa_exceptions.ClientException as exc:
        raise _about(server, errors.Refused, str(exc), _NOT_SENT) from exc
    if response.status_code >= 400:
        raise _error(response, method, server)
    return response


def _error(response: requests.Response, method: str,
           server: model.Server | None) -> errors.QuiesceError:
    """Return what an answer means that is an error, in the cloud's words."""
    status = response.status_code
    key, text = _fault(response)
    why = text or f'HTTP {status} {response.reason or ""}'.rstrip()
    error: errors.QuiesceError
    if status == 404 and key == _NO_ROUTE:
        return errors.NotInstalled(_('HTTP 404 Not Found'), server)
    if status == 500 and text:
        error = _about(server, errors.Unreachable, why, _(
            'Server %(server)s: Nova answered with an internal error: '
            '%(why)s'))
    elif (status != 401 and _FAULTS.get(status, _OTHER_FAULT) != key) or (
            status >= 500 and status not in _REFUSALS):
        error = _unusable(server, why)
    else:
        refusal = _REFUSALS.get(status, errors.Refused)
        if refusal is errors.Unauthorized:
            # Credentials with access rules may have all rules but this one.
            why = _('%(why)s (%(method)s %(path)s)') % {
                'why': why.rstrip('.'), 'method': method,
                'path': parse.urlsplit(response.url).path}
        if status == 400 and 'no such action' in text:
            refusal = errors.NotInstalled
        error = _about(
            server, refusal, why,
            _('Server %(server)s could not be read: %(why)s')
            if method == 'GET'
            else _('Server %(server)s was not changed: %(why)s'))
    if isinstance(error, errors.Transient):
        error.retry_after = retry_after(response)
    if isinstance(error, errors.ServiceUnavailable):
        error.http_status = status
    return error


def is_not_found(response: requests.Response) -> bool:
    """Return whether a service itself, and no proxy, does not find a thing."""
    return response.status_code == 404 and _fault(response)[0] == _FAULTS[404]


def not_of_nova(server: model.Server | None = None) -> errors.QuiesceError:
    """Return the error for an answer that Nova would not give."""
    return _unusable(server, _(
        'the compute endpoint sent a response that is not of Nova'))


def _unusable(server: model.Server | None, why: str) -> errors.QuiesceError:
    return _about(server, errors.Unreachable, why, _(
        'Server %(server)s: no usable answer came from Nova: %(why)s'))


def _about(server: model.Server | None, error: type[errors.QuiesceError],
           why: str, message: str) -> errors.QuiesceError:
    """Return an error that names the server, if it is about one."""
    if server is None:
        return error(why)
    return error(message % {'server': server.label, 'why': why}, server,
                 why=why)


def _fault(response: requests.Response) -> tuple[str, str]:
    """Return the key and the message of an error in JSON; '' without."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        return '', ''
    for key, part in body.items():  # {"itemNotFound": {"message": ...}}
        if isinstance(part, dict) and part.get('message'):
            return key, str(part['message'])
    return str(body.get('title', '')), ''  # of WebOb, without a controller


def json_of(response: requests.Response,
            server: model.Server | None = None) -> dict[str, Any]:
    """Return the JSON object of an answer."""
    with parsing(server):
        body = response.json()
        if not isinstance(body, dict):
            raise TypeError(body)
        return body


def pages(read: Callable[[str], Mapping[str, Any]], path: str, key: str,
          marker: str = 'id') -> Iterator[dict[str, Any]]:
    """Yield the items of a list, whatever the size of its pages.

    :param read: returns the JSON object at a path
    :param path: perhaps with filters
    :param key: of the list in the answer
    :param marker: the key of an item by which the next page is asked for
    """
    mark = '&' if '?' in path else '?'
    where = path
    while True:
        body = read(where)
        yield from body[key]
        if not body[key] or not (body.get(f'{key}_links') or body.get('next')):
            return
        last = parse.urlencode({'marker': body[key][-1][marker]})
        where = f'{path}{mark}{last}'


def quoted(text: str) -> str:
    """Return a text as one part of a path."""
    return parse.quote(text, safe='')


@contextlib.contextmanager
def parsing(server: model.Server | None = None) -> Iterator[None]:
    """Turn what goes wrong with an odd answer into an error in words.

    Valid JSON may still not be what Nova answers, for example if a proxy has
    written it.
    """
    try:
        yield
    except (AttributeError, LookupError, TypeError, ValueError) as exc:
        raise not_of_nova(server) from exc


def retry_after(response: requests.Response) -> float:
    """Return the seconds that a Retry-After header asks for, or 0."""
    value = response.headers.get('retry-after', '')
    if value.isascii() and value.isdigit():
        return float(value)
    when, now = _date(value), _date(response.headers.get('date', ''))
    if when is None:
        return 0.0
    now = now or datetime.datetime.now(datetime.UTC)
    return max(0.0, (when - now).total_seconds())


def _date(value: str) -> datetime.datetime | None:
    """Return the time that a header tells, if it tells one."""
    try:
        return email.utils.parsedate_to_datetime(value).replace(
            tzinfo=datetime.UTC)
    except (OverflowError, ValueError):
        return None
