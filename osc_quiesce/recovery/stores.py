# SPDX-License-Identifier: Apache-2.0

"""Where backups are kept: a directory, Swift or S3, read without Cinder.

Nothing is ever written there. An object is read in pieces, so that its size
does not matter. That something is not there, and that it could not be read,
are told apart: only the first says anything about the backup.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
import contextlib
import os
import pathlib
import re
from typing import Any, Final, Protocol
from urllib import parse

from keystoneauth1 import exceptions as ksa_exceptions
from keystoneauth1 import session as ksa_session
import requests

from osc_quiesce.application import errors
from osc_quiesce.i18n import _

#: bytes that are read at once
PIECE: Final = 1024 * 1024
#: seconds without any answer
_TIMEOUT: Final = 60.0
_S3: Final = 's3'
_HTTP: Final = ('http', 'https')


class StoreError(errors.ApplicationError):
    """Something could not be read; nothing is known of it.

    :param is_transient: whether the same may well succeed a little later
    """

    def __init__(self, message: str, is_transient: bool = False) -> None:
        super().__init__(message)
        self.is_transient = is_transient


class NotInStore(errors.ApplicationError):
    """The store has answered that it has no such object, or container."""


class Store(Protocol):
    """A store, in which containers have objects."""

    def names(self, container: str, prefix: str) -> Iterable[str]:
        """Yield the names of the objects that begin with something.

        :raises NotInStore: the container is not there
        :raises StoreError: it cannot be listed
        """

    def read(self, container: str, name: str) -> Generator[bytes, None, None]:
        """Yield an object in pieces of at most PIECE bytes.

        :raises NotInStore: it is not there
        :raises StoreError: it cannot be read, or not to its end
        """


def connect(where: str,
            session: Callable[[], ksa_session.Session]) -> Store:
    """Return the store of a path or URL.

    :param where: a directory; ``https://<host>/v1/<account>``, with or without
        ``/<container>``; or ``s3://``, with or without a bucket
    :param session: returns one whose token Swift accepts
    :raises errors.ApplicationError: it is none of these
    """
    url = parse.urlsplit(where)
    if url.scheme in _HTTP:
        found = re.fullmatch(r'(.*/v1/[^/]+)(?:/([^/]+))?/?', url.path)
        if not found or url.query:
            raise errors.ApplicationError(
                _('"%s" is not the URL of an account of Swift, such as '
                  'https://swift.example/v1/AUTH_shop, or of a container in '
                  'it.') % where)
        account = parse.urlunsplit((url.scheme, url.netloc, found[1], '', ''))
        return Swift(session(), account, parse.unquote(found[2] or ''))
    if url.scheme == _S3:
        if url.path.strip('/') or url.query:
            raise errors.ApplicationError(
                _('"%s" is more than a bucket, such as s3://backups.') % where)
        return S3(_s3_client(), url.netloc)
    if not os.path.isdir(where):
        raise errors.ApplicationError(
            _('"%s" is no directory here. It must be the directory of '
              "cinder-backup's store, the URL of an account of Swift, or "
              's3://.') % where)
    return Directory(where)


class Directory:
    """What the drivers posix, NFS and GlusterFS of Cinder have written.

    :param path: ``backup_posix_path``, or where the share is mounted
    """

    def __init__(self, path: str) -> None:
        self._path = pathlib.Path(path)

    def names(self, container: str, prefix: str) -> Iterator[str]:
        with _local_errors(), os.scandir(self._path / container) as entries:
            for entry in entries:
                if entry.name.startswith(prefix):
                    yield entry.name

    def read(self, container: str, name: str) -> Generator[bytes, None, None]:
        with _local_errors(), open(
                self._path / container / name, 'rb') as stream:
            while piece := stream.read(PIECE):
                yield piece


@contextlib.contextmanager
def _local_errors() -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as exc:
        raise NotInStore(str(exc)) from exc
    except OSError as exc:
        raise StoreError(str(exc)) from exc


class Swift:
    """Containers of an account of Swift.

    :param account: its URL
    :param container: instead of those where the backups were made
    """

    def __init__(self, session: ksa_session.Session, account: str,
                 container: str = '') -> None:
        self._session = session
        self._account = account
        self._container = container

    def names(self, container: str, prefix: str) -> Iterator[str]:
        query = {'format': 'json', 'prefix': prefix}
        while page := self._page(container, query):
            yield from page
            query['marker'] = page[-1]

    def read(self, container: str, name: str) -> Generator[bytes, None, None]:
        url = f'{self._url(container)}/{parse.quote(name)}'
        with self._get(url, stream=True) as response:
            got = 0
            for piece in response.iter_content(PIECE):
                got += len(piece)
                yield piece
            # Before its release 2, urllib3 takes a lost connection for the
            # end: a fault of the network would count as one of the store.
            wanted = response.headers.get('Content-Length')
            if wanted is not None and got != int(wanted):
                raise StoreError(
                    _('The connection was lost after %(got)d of %(all)s bytes')
                    % {'got': got, 'all': wanted}, is_transient=True)

    def _page(self, container: str, query: dict[str, str]) -> list[str]:
        url = f'{self._url(container)}?{parse.urlencode(query)}'
        with self._get(url) as response:
            try:
                return [str(each['name']) for each in response.json()]
            except (LookupError, TypeError, ValueError) as exc:
                raise StoreError(
                    _('The answer is not a list of objects')) from exc

    def _url(self, container: str) -> str:
        quoted = parse.quote(self._container or container, safe='')
        return f'{self._account}/{quoted}'

    @contextlib.contextmanager
    def _get(self, url: str, **more: Any) -> Iterator[requests.Response]:
        try:
            response = self._session.get(
                url, timeout=_TIMEOUT, log=False,
                headers={'Accept-Encoding': 'identity'}, **more)
            with contextlib.closing(response):
                yield response
        except ksa_exceptions.NotFound as exc:
            raise NotInStore(str(exc)) from exc
        except ksa_exceptions.HttpError as exc:
            raise StoreError(
                str(exc), exc.http_status == 429 or exc.http_status >= 500
            ) from exc
        except (ksa_exceptions.ClientException,
                requests.RequestException) as exc:
            raise StoreError(str(exc), is_transient=True) from exc


class S3:
    """Buckets of S3.

    :param client: of boto3
    :param bucket: instead of those where the backups were made
    """

    def __init__(self, client: Any, bucket: str = '') -> None:
        self._client = client
        self._bucket = bucket

    def names(self, container: str, prefix: str) -> Iterator[str]:
        with _s3_errors():
            for page in self._client.get_paginator('list_objects_v2').paginate(
                    Bucket=self._bucket or container, Prefix=prefix):
                for each in page.get('Contents', ()):
                    yield each['Key']

    def read(self, container: str, name: str) -> Generator[bytes, None, None]:
        with _s3_errors():
            body = self._client.get_object(
                Bucket=self._bucket or container, Key=name)['Body']
            with contextlib.closing(body):
                yield from body.iter_chunks(PIECE)


def _s3_client() -> Any:
    """Return a client of boto3, which reads ``AWS_*`` automatically."""
    try:
        import boto3
        import botocore.config
        import botocore.exceptions
    except ImportError as exc:
        raise errors.ApplicationError(
            _('A store in S3 needs boto3: install "osc-quiesce[s3]".')
        ) from exc
    try:
        return boto3.client('s3', config=botocore.config.Config(
            connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT))
    except (botocore.exceptions.BotoCoreError, ValueError) as exc:
        raise errors.ApplicationError(
            _('S3 cannot be used: %s. Set AWS_ENDPOINT_URL, '
              'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.')
            % str(exc).rstrip('.')) from exc


@contextlib.contextmanager
def _s3_errors() -> Iterator[None]:
    import botocore.exceptions
    try:
        yield
    except botocore.exceptions.ClientError as exc:
        if exc.response.get('Error', {}).get('Code') in (
                '404', 'NoSuchBucket', 'NoSuchKey'):
            raise NotInStore(str(exc)) from exc
        raise StoreError(str(exc)) from exc
    except botocore.exceptions.BotoCoreError as exc:
        # It has repeated what failed at once, but not what broke off.
        raise StoreError(str(exc), is_transient=isinstance(
            exc, (botocore.exceptions.HTTPClientError,
                  botocore.exceptions.IncompleteReadError))) from exc
