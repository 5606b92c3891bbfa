# SPDX-License-Identifier: Apache-2.0

"""What is read from and written to the services of a site, as plain JSON."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib import parse

from keystoneauth1 import adapter as ksa_adapter
from keystoneauth1 import exceptions as ksa_exceptions
from openstack import exceptions as sdk_exceptions
import requests
from requests import adapters

from osc_quiesce.application import errors
from osc_quiesce.i18n import _
from osc_quiesce import http

THREADS: Final = 32  # requests under way at once
PATIENCE: Final = 60.0  # seconds, with silence, and with repeating a request

_VOLUME_MICROVERSION: Final = '3.0'
_COMPUTE_MICROVERSION: Final = '2.1'
_FILTER_MICROVERSION: Final = '3.22'  # the first that knows metadata
#: of backups with metadata
BACKUP_MICROVERSION: Final = '3.43'


class CloudError(errors.ApplicationError):
    """A service refused a request, or gave no usable answer.

    :param status: that of HTTP; None if there was no usable answer
    :param retry_after: see :class:`osc_quiesce.errors.Transient`
    """

    def __init__(self, message: str, status: int | None = None,
                 retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    @property
    def is_transient(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.status is None or self.status == 429 or self.status >= 500

    @property
    def outcome_unknown(self) -> bool:
        """Whether the request may have been carried out, or may yet be.

        A service that fails on the way answers 500, and a proxy that gets no
        answer 502 or 504; some, such as Envoy, 503.
        """
        return self.status is None or self.status >= 500


class NotThere(CloudError):
    """404"""


class NoService(CloudError):
    """The cloud does not have this service: nothing was sent."""

    def __init__(self, message: str) -> None:
        super().__init__(message, 404)


class _Answer(dict[str, Any]):
    """The JSON object of an answer; a key that it lacks is a CloudError."""

    def __missing__(self, key: str) -> Any:
        raise CloudError(_('the answer has no "%s"') % key)


class Cloud:
    """The services that an openstacksdk connection leads to.

    :param connection: an :class:`openstack.connection.Connection`
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # Else a silent Keystone holds up those who thaw for as long as this
        # waits for a token.
        self._session = http.bounded(connection.session)
        _enlarge_connection_pool(connection.session.session)

    @property
    def project_id(self) -> str | None:
        project: str | None = self._session.get_project_id()
        return project

    @property
    def _access(self) -> Any:
        auth: Any = self._session.auth
        return auth.get_access(self._session)

    @property
    def is_admin(self) -> bool:
        return 'admin' in self._access.role_names

    @property
    def is_restricted(self) -> bool:
        """Whether the caller's credential has access rules.

        What they do not allow is answered 401, whatever the roles.
        """
        return getattr(self._access, 'application_credential_access_rules',
                       None) is not None

    @property
    def volume_url(self) -> str | None:
        """Where Cinder is, which tells one site from another."""
        return self._adapter('block_storage').get_endpoint()

    def image(self, image_id: str) -> dict[str, Any]:
        """Return Glance's record of an image, its properties included."""
        return self._send('image', 'GET', f'/images/{image_id}', None, None)

    def volume(self, method: str, path: str, json: Any = None,
               microversion: str = _VOLUME_MICROVERSION,
               timeout: float = PATIENCE) -> dict[str, Any]:
        """Send a request to Cinder.

        One whose answer is lost is not sent again unless it only reads: it
        may have made a snapshot.

        :param timeout: for how many seconds silence is endured
        """
        return self._send(
            'block_storage', method, path, json, microversion, timeout)

    def compute(self, method: str, path: str, json: Any = None,
                microversion: str = _COMPUTE_MICROVERSION) -> dict[str, Any]:
        """Send a request to Nova, as :meth:`volume` does to Cinder."""
        return self._send('compute', method, path, json, microversion)

    def network(self, method: str, path: str,
                json: Any = None) -> dict[str, Any]:
        """Send a request to Neutron; there need not be one.

        :param path: below ``/v2.0``
        """
        return self._send('network', method, path, json, None)

    def backups(self, **filters: str) -> Iterator[dict[str, Any]]:
        """Yield the backups of the project, with their metadata.

        :param filters: ``name``, ``status`` or ``volume_id``
        """
        query = f'?{parse.urlencode(filters)}' if filters else ''
        yield from self.pages('block_storage', f'/backups/detail{query}',
                              'backups', BACKUP_MICROVERSION)

    def pages(self, service: str, path: str, key: str,
              microversion: str | None) -> Iterator[dict[str, Any]]:
        """Yield the items of a list, whatever the size of its pages.

        :param service: as openstacksdk calls it, such as ``block_storage``
        :param key: of the list in the answer
        """
        yield from http.pages(
            lambda where: self._send(service, 'GET', where, None,
                                     microversion), path, key)

    def _adapter(self, service: str) -> ksa_adapter.Adapter:
        return http.adapter_of(None, getattr(self._connection, service))

    def _send(self, service: str, method: str, path: str, json: Any,
              microversion: str | None,
              timeout: float = PATIENCE) -> dict[str, Any]:
        try:
            # Past that of openstacksdk, and the cache that clouds.yaml may ask
            # for, which takes no requests of several threads.
            response = ksa_adapter.Adapter.request(
                self._adapter(service), path, method, json=json,
                microversion=microversion, timeout=timeout, raise_exc=False,
                connect_retries=1 if method == 'GET' else 0,
                # clouds.yaml may ask for some: no POST must be repeated.
                status_code_retries=0)
            sdk_exceptions.raise_from_response(response)
            body = response.json() if response.content else {}
        except sdk_exceptions.NotFoundException as exc:
            # Else a proxy does not find Cinder, or Nova.
            if service not in ('block_storage', 'compute') or (
                    exc.response is not None
                    and http.is_not_found(exc.response)):
                raise NotThere(str(exc), exc.status_code) from exc
            raise CloudError(str(exc)) from exc
        except (sdk_exceptions.ConfigException,  # also: not in the catalog
                ksa_exceptions.EndpointNotFound) as exc:
            raise NoService(str(exc)) from exc
        except sdk_exceptions.HttpException as exc:
            pause = 0.0
            if exc.response is not None:
                pause = http.retry_after(exc.response)
            raise CloudError(str(exc), exc.status_code, pause) from exc
        except ksa_exceptions.HttpError as exc:  # an answer of Keystone
            raise CloudError(
                str(exc), exc.http_status, exc.retry_after) from exc
        except (sdk_exceptions.SDKException, ksa_exceptions.ClientException,
                OSError,  # such as certificates that are being replaced
                ValueError) as exc:
            raise CloudError(str(exc)) from exc
        if not isinstance(body, dict):
            raise CloudError(_('the answer is not a JSON object'))
        return _Answer(body)

    def snapshots(self,
                  metadata: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Yield the snapshots of the project that have these metadata."""
        query = parse.urlencode({'metadata': str(dict(metadata))})
        for each in self.pages('block_storage', f'/snapshots/detail?{query}',
                               'snapshots', _FILTER_MICROVERSION):
            # If a proxy drops the microversion, Cinder lists all.
            if metadata.items() <= (each.get('metadata') or {}).items():
                yield each


def _enlarge_connection_pool(session: requests.Session) -> None:
    """Let a session keep a connection for each of our requests under way.

    By default it keeps ten to a host, and closes each one more after its
    request, with a warning on stderr.
    """
    for adapter in session.adapters.values():
        size: int = getattr(adapter, '_pool_maxsize', THREADS)
        if isinstance(adapter, adapters.HTTPAdapter) and size < THREADS:
            # Not a new adapter: this one knows the options of TLS.
            adapter.init_poolmanager(THREADS, THREADS)
