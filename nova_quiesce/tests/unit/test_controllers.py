# SPDX-License-Identifier: Apache-2.0


"""From HTTP to calls, and from errors to answers."""

import json
import pathlib
import unittest
from typing import Any
from unittest import mock

import sqlalchemy as sa
from nova import context as nova_context
from nova import exception
from nova.api.openstack import wsgi
from nova.api.validation import validators
from webob import exc

from nova_quiesce import controllers
from nova_quiesce import db
from nova_quiesce import exceptions
from nova_quiesce import schema
from nova_quiesce.tests.unit import world

LINKS = (pathlib.Path(__file__).parents[3]
         / 'doc/source/samples/freezes-links.json')
ID = 'req-0fb4a6c2-6d5d-4d67-9d2c-f2d0ef53a1c4'


class TestBody(unittest.TestCase):

    def check(self, schema: dict[str, Any], name: str, valid: list[Any],
              invalid: list[Any]) -> None:
        validator = validators._SchemaValidator(schema)
        for value in valid:
            validator.validate({name: value})
        for value in invalid:
            with self.subTest(value=value), \
                    self.assertRaises(exception.ValidationError):
                validator.validate({name: value})

    def test_of_quiesce(self) -> None:
        no_seconds: list[Any] = [0, -1, True, '5', 1.5, None, [], {}]
        self.check(
            controllers._quiesce_schema, 'quiesce',
            [None, {'unquiesce_after': 1}, {'unquiesce_after': 10 ** 30},
             {'request_id': ID}, {'request_id': ID, 'unquiesce_after': 9}],
            [{}, {'unquiesce_after': 1, 'x': 1}, True, 'now', 0, [],
             {'request_id': 'mine'}, {'request_id': None},
             {'request_id': ID.upper()},
             *({'unquiesce_after': seconds} for seconds in no_seconds)])

    def test_of_unquiesce(self) -> None:
        self.check(
            controllers._unquiesce_schema, 'unquiesce',
            [None, {'request_id': ID}],
            [{}, {'request_id': 'mine'}, {'request_id': ID, 'x': 1},
             {'unquiesce_after': 1}, True, 'now', 0, []])

    def test_the_default_deadline_is_the_clouds(self) -> None:
        after = controllers._unquiesce_after
        self.assertEqual(300, after({}))
        self.assertEqual(300, after({'request_id': ID}))
        controllers.CONF.set_override(
            'default_unquiesce_after', 90, 'quiesce')
        self.addCleanup(controllers.CONF.clear_override,
                        'default_unquiesce_after', 'quiesce')
        self.assertEqual(90, after({}))
        self.assertEqual(5, after({'unquiesce_after': 5}))

    def test_the_limit_holds_for_the_default_too(self) -> None:
        after = controllers._unquiesce_after
        for default, deadline in (90, 60), (0, 0):
            with self.subTest(default):
                controllers.CONF.set_override(
                    'default_unquiesce_after', default, 'quiesce')
                self.addCleanup(controllers.CONF.clear_override,
                                'default_unquiesce_after', 'quiesce')
                controllers.CONF.set_override(
                    'max_unquiesce_after', 60, 'quiesce')
                self.addCleanup(controllers.CONF.clear_override,
                                'max_unquiesce_after', 'quiesce')
                self.assertEqual(deadline, after({}))

    def test_more_than_the_cloud_allows_is_refused_in_words(self) -> None:
        after = controllers._unquiesce_after
        self.assertEqual(86400, after({'unquiesce_after': 86400}))
        with self.assertRaises(exc.HTTPBadRequest) as caught:
            after({'unquiesce_after': 86401})
        self.assertIn('at most 86400', str(caught.exception.explanation))


class TestErrors(unittest.TestCase):

    def test_every_error_has_the_answer_of_novas_own_actions(self) -> None:
        key = {'instance_uuid': 'x', 'request_id': ID}
        errors: list[tuple[Exception, type[Exception]]] = [
            (exception.InstanceIsLocked(instance_uuid='x'),
             exc.HTTPConflict),
            (exceptions.NotClearedUp(instance_uuid='x'), exc.HTTPConflict),
            (exceptions.ComputeDown(instance_uuid='x'), exc.HTTPConflict),
            (exceptions.RequestWithdrawn(**key), exc.HTTPConflict),
            (exceptions.RequestEnded(how='it failed', **key),
             exc.HTTPConflict),
            (exception.InstanceInvalidState(
                attr='vm_state', state='paused', instance_uuid='x',
                method='_check_quiesce'), exc.HTTPConflict),
            (exception.InstanceNotFound(instance_id='x'), exc.HTTPNotFound),
            (exceptions.NoService(), exc.HTTPServiceUnavailable),
            (exceptions.SchemaMissing(found='none', wanted='0001'),
             exc.HTTPServiceUnavailable)]
        for error, expected in errors:
            with self.subTest(type(error).__name__):
                with self.assertRaises(expected) as caught, \
                        controllers._http_errors('quiesce', 'x'):
                    raise error
                self.assertNotIn('_check', str(caught.exception))


class TestFactory(unittest.TestCase):

    def test_a_nova_api_that_vanishes_keeps_no_lock(self) -> None:
        self.addCleanup(
            sa.event.remove, sa.Engine, 'do_connect', db._bound_locks)
        with mock.patch.object(controllers, 'hooks', return_value=()), \
                mock.patch.object(controllers.nova_api, 'APIRouterV21'):
            controllers.app_factory({})
        engine = sa.create_engine('mysql+pymysql://nova@localhost/nova_api')
        with mock.patch('pymysql.connect', side_effect=OSError) as connect, \
                self.assertRaises(OSError):
            engine.connect()
        self.assertEqual('SET SESSION wait_timeout = 30',
                         connect.call_args.kwargs['init_command'])
        # What Nova asks may take as long as ever.
        self.assertNotIn('read_timeout', connect.call_args.kwargs)


class HTTPTest(world.WorldTest):

    def setUp(self) -> None:
        super().setUp()
        self._patch(mock.patch.object(nova_context.RequestContext, 'can'))
        self._patch(mock.patch.object(controllers.compute, 'API'))
        self._patch(mock.patch.object(
            controllers.common, 'get_instance',
            lambda api, context, uuid: self.instance_of(uuid)))

    def request(self, query: str = '') -> Any:
        request = wsgi.Request.blank('/v2.1/os-quiesce' + query)
        request.environ['nova.context'] = self._context()
        request.api_version_request = mock.MagicMock()
        return request


class TestActions(HTTPTest):

    def setUp(self) -> None:
        super().setUp()
        self.controller = controllers.QuiesceController()

    def test_from_quiesce_to_unquiesce(self) -> None:
        self.controller._quiesce(
            self.request(), self.uuid, body={'quiesce': {
                'request_id': ID, 'unquiesce_after': 60}})
        self.deliver()
        self.check_at_rest('quiesced', frozen=True)
        assert self.row is not None
        self.assertEqual((ID, 60),
                         (self.row.request_id, self.row.unquiesce_after))
        self.assertIsNone(self.controller._unquiesce(
            self.request(), self.uuid, body={'unquiesce': {
                'request_id': ID}}))
        self.deliver()
        self.check_at_rest('active')
        answer = self.controller._unquiesce(
            self.request(), self.uuid, body={'unquiesce': {
                'request_id': ID}})
        assert answer is not None
        self.assertEqual(200, answer.code)
        self.assertEqual(ID, answer.obj['unquiesce']['request_id'])
        self.assertEqual({'request_id', 'state', 'message'},
                         set(answer.obj['unquiesce']))
        with self.assertRaises(exc.HTTPConflict):
            self.controller._quiesce(
                self.request(), self.uuid, body={'quiesce': {
                    'request_id': ID}})

    def test_without_a_body(self) -> None:
        self.controller._quiesce(
            self.request(), self.uuid, body={'quiesce': None})
        self.deliver()
        assert self.row is not None
        self.assertEqual(300, self.row.unquiesce_after)
        self.assertIsNone(self.controller._unquiesce(
            self.request(), self.uuid, body={'unquiesce': None}))
        self.deliver()
        self.check_at_rest('active')

    def test_a_token_without_a_project_is_forbidden(self) -> None:
        request = self.request()
        request.environ['nova.context'].project_id = None
        with self.assertRaises(exc.HTTPForbidden):
            self.controller._quiesce(
                request, self.uuid, body={'quiesce': None})


class TestList(HTTPTest):

    def setUp(self) -> None:
        super().setUp()
        self.controller = controllers.FreezesController()

    def test_what_a_newer_version_has_written(self) -> None:
        self.freeze()
        self.set_row(state='resting')
        [found] = self.controller.index(self.request())['freezes']
        self.assertEqual('resting', found['state'])

    def test_what_is_frozen(self) -> None:
        request_id = self.freeze(unquiesce_after=60)
        [found] = self.controller.index(self.request())['freezes']
        self.assertEqual(
            {'server_id', 'server_name', 'project_id', 'user_id',
             'request_id', 'state', 'requested_at', 'frozen_at',
             'unquiesce_at', 'attempts', 'error'}, set(found))
        self.assertEqual(
            (self.uuid, 'web', 'project', 'user', request_id, 'frozen'),
            (found['server_id'], found['server_name'], found['project_id'],
             found['user_id'], found['request_id'], found['state']))
        self.assertRegex(found['frozen_at'], '^2026-11-23T.*Z$')

    def test_only_those_of_the_project_or_all(self) -> None:
        self.freeze()
        self.set_row(project_id='another')
        self.assertEqual([], self.controller.index(
            self.request())['freezes'])
        self.assertEqual(1, len(self.controller.index(
            self.request('?all_projects=1'))['freezes']))

    def test_its_schema_names_each_field(self) -> None:
        controllers.CONF.set_override('response_validation', 'error', 'api')
        self.addCleanup(controllers.CONF.clear_override,
                        'response_validation', 'api')
        uuids = [self.uuid, self.boot()]
        for self.uuid in uuids:
            self.quiesce()
            self.set_row(project_id=None, user_id=None, server_name=None)
        query = '?all_projects=1&limit=1'
        [found] = self.controller.index(self.request(query))['freezes']
        self.assertIsNone(found['frozen_at'])
        for changed in {**found, 'host': 'cmp1'}, {**found, 'attempts': 'no'}:
            with mock.patch.object(
                    controllers, '_shown', return_value=changed), \
                    self.assertRaises(exception.ValidationError):
                self.controller.index(self.request(query))

    def test_some_servers_and_pages(self) -> None:
        uuids = [self.uuid, self.boot(), self.boot()]
        for self.uuid in uuids:
            self.freeze()
        uuids.sort()
        answer = self.controller.index(self.request(
            '?server=%s&server=%s' % (uuids[0], uuids[2])))
        self.assertEqual([uuids[0], uuids[2]], [
            each['server_id'] for each in answer['freezes']])
        self.assertNotIn('freezes_links', answer)
        found: list[str] = []
        query: str | None = '?limit=2'
        while query is not None:
            answer = self.controller.index(self.request(query))
            found += [each['server_id'] for each in answer['freezes']]
            links = answer.get('freezes_links')
            query = '?' + links[0]['href'].partition('?')[2] if links else None
        self.assertEqual(uuids, found)

    def test_those_of_a_request_also_if_they_are_thawed(self) -> None:
        controllers.CONF.set_override('response_validation', 'error', 'api')
        self.addCleanup(controllers.CONF.clear_override,
                        'response_validation', 'api')
        frozen, thawed, lapsed, other = [
            self.uuid, self.boot(), self.boot(), self.boot()]
        for self.uuid in thawed, lapsed, frozen:
            self.quiesce(request_id=ID)
            self.deliver()
            if self.uuid == lapsed:
                self.guest.on_thaw = [world.answer(
                    exceptions.FreezeLapsed(reason='it was too long'))]
            if self.uuid != frozen:
                self.unquiesce_request(ID)
                self.deliver()
        self.uuid = other
        self.freeze()
        states = {frozen: 'frozen', thawed: 'thawed', lapsed: 'lapsed'}

        def found(query: str = '') -> dict[str, str]:
            answer = self.controller.index(self.request(
                f'?request_id={ID}{query}'))
            return {each['server_id']: each['state']
                    for each in answer['freezes']}

        self.assertEqual(states, found())
        self.assertEqual({lapsed: 'lapsed'}, found(f'&server={lapsed}'))
        paged: dict[str, str] = {}
        for _each in states:
            marker = f'&marker={max(paged)}' if paged else ''
            page = found(f'&limit=1{marker}')
            self.assertEqual(1, len(page))
            paged.update(page)
        self.assertEqual(states, paged)
        self.assertEqual({frozen, other}, {
            each['server_id'] for each in self.controller.index(
                self.request())['freezes']})

    def test_the_link_of_the_documentation(self) -> None:
        uuids = sorted([self.uuid, self.boot(), self.boot()])
        for self.uuid in uuids:
            self.freeze()
        shown = json.loads(LINKS.read_text())
        [link] = shown['freezes_links']
        marker = link['href'].partition('marker=')[2]
        link['href'] = link['href'].replace(marker, uuids[1])
        prefix = 'https://cloud.example.com/compute'
        controllers.CONF.set_override('compute_link_prefix', prefix, 'api')
        self.addCleanup(controllers.CONF.clear_override,
                        'compute_link_prefix', 'api')
        answer = self.controller.index(self.request('?limit=2'))
        self.assertEqual(shown['freezes_links'], answer['freezes_links'])

    def test_a_link_without_a_prefix_has_the_host_of_the_request(self) -> None:
        uuids = [self.uuid, self.boot()]
        for self.uuid in uuids:
            self.freeze()
        [link] = self.controller.index(
            self.request('?limit=1'))['freezes_links']
        self.assertRegex(
            link['href'], r'^http://localhost/v2\.1/os-quiesce\?limit=1&')

    def test_the_table_is_missing(self) -> None:
        with mock.patch.object(
                schema, 'versions', return_value=(None, '0001')), \
                self.assertRaises(exc.HTTPServiceUnavailable):
            self.controller.index(self.request())

    def test_who_polls_does_not_have_the_table_checked_each_time(self) -> None:
        with mock.patch.object(
                schema, 'versions', wraps=schema.versions) as versions:
            for _each in range(3):
                self.controller.index(self.request())
        self.assertEqual(1, versions.call_count)
