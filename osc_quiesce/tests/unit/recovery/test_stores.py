# SPDX-License-Identifier: Apache-2.0

"""Directories, Swift and S3 are read in the same way, and never written to."""

from __future__ import annotations

from collections.abc import Iterator
import io
import os
import pathlib
import sys
import tempfile
import types
from typing import Any
import unittest
from unittest import mock

from keystoneauth1 import session as ksa_session
from keystoneauth1 import token_endpoint
import requests
import requests_mock

from osc_quiesce.application import errors
from osc_quiesce.recovery import stores

URL = 'https://swift.example/v1/AUTH_shop'
NAME = 'volume_v1/20261129/az_nova_backup_b1-00001'


def none() -> ksa_session.Session:
    raise AssertionError('no session is needed')


class ConnectTest(unittest.TestCase):
    def test_what_is_no_store_is_refused(self) -> None:
        for where, why in (
            ('/nowhere/at/all', 'is no directory'),
            ('', 'is no directory'),
            ('ftp://host/x', 'is no directory'),
            ('https://swift.example/', 'not the URL of an account'),
            (f'{URL}/container/object', 'not the URL of an account'),
            (f'{URL}?prefix=x', 'not the URL of an account'),
            ('s3://bucket/prefix', 'more than a bucket'),
        ):
            with self.subTest(where), self.assertRaisesRegex(
                errors.ApplicationError, why
            ):
                stores.connect(where, none)

    def test_only_swift_needs_a_session(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.assertIsInstance(
                stores.connect(folder, none), stores.Directory)


class DirectoryTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(
            self.enterContext(tempfile.TemporaryDirectory()))
        self.store = stores.Directory(str(self.folder))
        (self.folder / 'ab' / 'cd').mkdir(parents=True)
        for name in 'b1-00001', 'b1_metadata', 'b2_metadata':
            (self.folder / 'ab/cd' / name).write_bytes(name.encode())

    def test_objects_are_listed_and_read(self) -> None:
        self.assertEqual(
            {'b1-00001', 'b1_metadata'}, set(self.store.names('ab/cd', 'b1')))
        self.assertEqual(
            [b'b1-00001'], list(self.store.read('ab/cd', 'b1-00001')))

    def test_a_large_one_is_read_in_pieces(self) -> None:
        size = 3 * stores.PIECE + 1
        with open(self.folder / 'ab/cd/large', 'wb') as stream:
            stream.truncate(size)
        pieces = [len(each) for each in self.store.read('ab/cd', 'large')]
        self.assertEqual([*[stores.PIECE] * 3, 1], pieces)

    def test_what_is_not_there_is_told_from_what_cannot_be_read(self) -> None:
        for container, name in ('ab/cd', 'x'), ('x', 'x'), ('ab/cd/b1-00001',
                                                            'x'):
            with self.subTest(container, name=name), self.assertRaises(
                stores.NotInStore
            ):
                list(self.store.read(container, name))
        with self.assertRaises(stores.NotInStore):
            list(self.store.names('x', ''))
        with mock.patch('builtins.open', side_effect=OSError(5, 'I/O error')):
            with self.assertRaises(stores.StoreError) as caught:
                list(self.store.read('ab/cd', 'b1-00001'))
        self.assertFalse(caught.exception.is_transient)
        with self.assertRaises(stores.StoreError):
            list(self.store.read('ab', 'cd'))  # a directory


class SwiftTest(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.enterContext(requests_mock.Mocker())
        self.session = ksa_session.Session(
            auth=token_endpoint.Token('https://keystone.example', 'a-token'))
        self.store = stores.connect(URL, lambda: self.session)

    def object(self, **answer: Any) -> None:
        self.server.get(f'{URL}/backups/{NAME}', **answer)

    def read(self) -> bytes:
        return b''.join(self.store.read('backups', NAME))

    def test_an_object_is_read_with_the_token(self) -> None:
        self.object(content=b'data', headers={'Content-Length': '4'})
        self.assertEqual(b'data', self.read())
        sent = self.server.last_request.headers
        self.assertEqual('a-token', sent['X-Auth-Token'])
        self.assertEqual('identity', sent['Accept-Encoding'])

    def test_a_public_container_needs_none(self) -> None:
        self.object(content=b'data')
        self.session = ksa_session.Session()
        self.store = stores.connect(URL, lambda: self.session)
        self.assertEqual(b'data', self.read())
        self.assertNotIn('X-Auth-Token', self.server.last_request.headers)

    def test_a_large_one_is_read_in_pieces(self) -> None:
        self.object(body=io.BytesIO(bytes(2 * stores.PIECE + 1)))
        self.assertEqual(
            [stores.PIECE, stores.PIECE, 1],
            [len(each) for each in self.store.read('backups', NAME)])

    def test_all_pages_of_a_list_are_read(self) -> None:
        self.server.get(f'{URL}/backups', [
            {'json': [{'name': 'v/1'}, {'name': 'v/2 +'}]},
            {'json': [{'name': 'v/3'}]},
            {'json': []},
        ])
        self.assertEqual(
            ['v/1', 'v/2 +', 'v/3'], list(self.store.names('backups', 'v/')))
        self.assertEqual(
            [{'format': ['json'], 'prefix': ['v/']},
             {'format': ['json'], 'prefix': ['v/'], 'marker': ['v/2 +']},
             {'format': ['json'], 'prefix': ['v/'], 'marker': ['v/3']}],
            [each.qs for each in self.server.request_history])

    def test_a_container_of_the_url_is_taken_instead(self) -> None:
        self.object(content=b'data')
        for where in f'{URL}/backups', f'{URL}/backups/':
            self.store = stores.connect(where, lambda: self.session)
            self.assertEqual(
                [b'data'], list(self.store.read('elsewhere', NAME)))

    def test_what_is_not_there_is_told_from_what_cannot_be_read(self) -> None:
        self.object(status_code=404)
        with self.assertRaises(stores.NotInStore):
            self.read()
        for answer, is_transient in (
            ({'status_code': 401}, False),
            ({'status_code': 403}, False),
            ({'status_code': 429}, True),
            ({'status_code': 503}, True),
            ({'exc': requests.ConnectionError}, True),
            ({'exc': requests.Timeout}, True),
        ):
            self.object(**answer)
            with self.subTest(**answer), self.assertRaises(
                stores.StoreError
            ) as caught:
                self.read()
            self.assertEqual(is_transient, caught.exception.is_transient)

    def test_a_lost_connection_is_no_damage(self) -> None:
        self.object(content=b'da', headers={'Content-Length': '4'})
        with self.assertRaisesRegex(
            stores.StoreError, 'lost after 2 of 4 bytes'
        ) as caught:
            self.read()
        self.assertTrue(caught.exception.is_transient)
        lost = mock.patch.object(
            requests.Response, 'iter_content',
            side_effect=requests.exceptions.ChunkedEncodingError('lost'))
        with lost, self.assertRaises(stores.StoreError) as caught:
            self.read()
        self.assertTrue(caught.exception.is_transient)

    def test_an_answer_that_is_no_list_is_told(self) -> None:
        for text in '<html>', '{"a": 1}', '[1]':
            self.server.get(f'{URL}/backups', text=text)
            with self.subTest(text), self.assertRaises(stores.StoreError):
                list(self.store.names('backups', ''))


class Body(io.BytesIO):
    """What boto3 gives of an object."""

    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while piece := self.read(size):
            yield piece


class BotoCoreError(Exception):
    pass


class HTTPClientError(BotoCoreError):
    pass


class IncompleteReadError(BotoCoreError):
    pass


class ClientError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {'Error': {'Code': code}}


class S3Test(unittest.TestCase):
    def setUp(self) -> None:
        super().setUp()
        self.client = mock.Mock()
        boto3: Any = types.ModuleType('boto3')
        boto3.client = mock.Mock(return_value=self.client)
        self.boto3 = boto3
        botocore: Any = types.ModuleType('botocore')
        botocore.config = types.ModuleType('botocore.config')
        botocore.config.Config = mock.Mock()
        botocore.exceptions = types.ModuleType('botocore.exceptions')
        for each in (BotoCoreError, HTTPClientError, IncompleteReadError,
                     ClientError):
            setattr(botocore.exceptions, each.__name__, each)
        self.enterContext(mock.patch.dict(sys.modules, {
            'boto3': boto3,
            'botocore': botocore,
            'botocore.config': botocore.config,
            'botocore.exceptions': botocore.exceptions,
        }))
        self.store = stores.connect('s3://', none)

    def read(self) -> bytes:
        return b''.join(self.store.read('backups', NAME))

    def test_objects_are_read(self) -> None:
        self.client.get_object.return_value = {'Body': Body(b'data')}
        self.assertEqual(b'data', self.read())
        self.client.get_object.assert_called_once_with(
            Bucket='backups', Key=NAME)

    def test_all_pages_of_a_list_are_read(self) -> None:
        self.client.get_paginator.return_value.paginate.return_value = [
            {'Contents': [{'Key': 'v/1'}, {'Key': 'v/2'}]},
            {},
            {'Contents': [{'Key': 'v/3'}]},
        ]
        self.assertEqual(
            ['v/1', 'v/2', 'v/3'], list(self.store.names('backups', 'v/')))

    def test_a_bucket_of_the_url_is_taken_instead(self) -> None:
        self.store = stores.connect('s3://Copy', none)
        self.client.get_object.return_value = {'Body': Body(b'data')}
        self.read()
        self.client.get_object.assert_called_once_with(
            Bucket='Copy', Key=NAME)

    def test_what_is_not_there_is_told_from_what_cannot_be_read(self) -> None:
        for code in 'NoSuchKey', 'NoSuchBucket', '404':
            self.client.get_object.side_effect = ClientError(code)
            with self.subTest(code), self.assertRaises(stores.NotInStore):
                self.read()
        for error, is_transient in (
            (ClientError('AccessDenied'), False),
            (BotoCoreError('no credentials'), False),
            (HTTPClientError('timeout'), True),
            (IncompleteReadError('lost'), True),
        ):
            self.client.get_object.side_effect = error
            with self.subTest(error), self.assertRaises(
                stores.StoreError
            ) as caught:
                self.read()
            self.assertEqual(is_transient, caught.exception.is_transient)

    def test_without_boto3_it_is_said_what_to_install(self) -> None:
        with mock.patch.dict(sys.modules, {'boto3': None}):
            with self.assertRaisesRegex(
                errors.ApplicationError, r'osc-quiesce\[s3\]'
            ):
                stores.connect('s3://backups', none)

    def test_what_boto3_needs_is_told(self) -> None:
        self.boto3.client.side_effect = ValueError('Invalid endpoint: x')
        with self.assertRaisesRegex(
            errors.ApplicationError, 'Invalid endpoint: x. Set AWS_ENDPOINT'
        ):
            stores.connect('s3://backups', none)

    def test_boto3_is_imported_for_s3_only(self) -> None:
        self.boto3.client.reset_mock()
        stores.connect(os.curdir, none)
        self.boto3.client.assert_not_called()
