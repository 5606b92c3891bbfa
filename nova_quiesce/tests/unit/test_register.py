# SPDX-License-Identifier: Apache-2.0

import json
import pathlib
import shutil
import tempfile
import unittest
from typing import Any
from unittest import mock

from nova import context as nova_context
from nova import objects
from nova import policy
from nova.api.openstack import common
from nova.api.openstack import wsgi
from nova.api.openstack.compute import routes
from nova.compute import api as compute
from nova.objects import fields
from oslo_config import cfg
from oslo_utils import timeutils
from oslo_utils import uuidutils

from nova_quiesce import compat
from nova_quiesce import controllers
from nova_quiesce import notification_states
from nova_quiesce import policies
from nova_quiesce import register
from nova_quiesce import rpcapi

NOTIFICATION_VALUES = (
    (fields.InstanceStateField, 'quiesced'),
    (fields.InstanceTaskStateField, 'quiescing'),
    (fields.InstanceTaskStateField, 'unquiescing'),
    (fields.NotificationActionField, 'quiesce'),
    (fields.NotificationActionField, 'unquiesce'),
    (fields.NotificationSourceField, 'nova-quiesce'))

PROJECT = '0123456789abcdef0123456789abcdef'


class Controller(wsgi.Controller):
    """Answers an empty list."""

    @wsgi.expected_errors(())
    def index(self, req: wsgi.Request) -> dict[str, Any]:
        return {'freezes': []}


class UnmodifiedNovaTest(unittest.TestCase):
    """A test that begins, and leaves others, with a Nova without us."""

    def setUp(self) -> None:
        self._patch(mock.patch.dict(common._STATE_MAP))
        common._STATE_MAP.pop('quiesced', None)
        for field, _value in NOTIFICATION_VALUES:
            enum = field.AUTO_TYPE
            self._patch(mock.patch.object(enum, '_valid_values', tuple(
                value for value in enum.valid_values
                if (field, value) not in NOTIFICATION_VALUES)))
        for node in register._schemas():
            if isinstance(node.get('enum'), list):
                self._restore(node['enum'])
                node['enum'][:] = [value for value in node['enum']
                                   if value not in ('QUIESCED', 'quiesced')]
        delete = compute.API._delete
        while hasattr(delete, 'leaves_quiesced'):
            delete = delete.__wrapped__
        self._patch(mock.patch.object(compute.API, '_delete', delete))
        self._patch(mock.patch.object(routes, 'ROUTE_LIST', tuple(
            route for route in routes.ROUTE_LIST
            if route[0] != controllers.LIST_PATH)))
        actions = register._action_controllers()
        self._restore(actions)
        actions[:] = [controller for controller in actions
                      if controller is not controllers.QuiesceController]
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[], default_config_dirs=[])
        self._patch(mock.patch.object(policy, 'CONF', conf))
        self._patch(mock.patch.object(policy, '_ENFORCER', None))

    def _patch(self, patch: Any) -> None:
        patch.start()
        self.addCleanup(patch.stop)

    def _restore(self, values: list[Any]) -> None:
        self.addCleanup(values.__setitem__, slice(None), list(values))


class TestRegister(UnmodifiedNovaTest):

    def test_status_of_a_quiesced_server(self) -> None:
        register.status()
        self.assertEqual('QUIESCED', common.status_from_state('quiesced'))
        vm_states, _task_states = common.task_and_vm_state_from_status(
            ['quiesced'])
        self.assertEqual(['quiesced'], vm_states)

    def test_status_is_valid_once_in_every_answer(self) -> None:
        register.response_schemas()
        register.response_schemas()
        for known, new in (('SHELVED_OFFLOADED', 'QUIESCED'),
                           ('shelved_offloaded', 'quiesced')):
            found = [node['enum'].count(new) for node in register._schemas()
                     if isinstance(node.get('enum'), list)
                     and known in node['enum']]
            # Before OpenStack 2026.1 answers may have any status.
            self.assertEqual(
                compat.NOVA >= compat.RELEASES['2026.1'], bool(found))
            self.assertEqual({1}, {1, *found})

    def test_states_are_valid_in_notifications(self) -> None:
        for field, value in NOTIFICATION_VALUES:
            with self.assertRaises(ValueError):
                field().coerce(None, 'some_field', value)
        notification_states.register()
        notification_states.register()
        for field, value in NOTIFICATION_VALUES:
            self.assertEqual(
                1, list(field.AUTO_TYPE.valid_values).count(value))
            self.assertEqual(
                value, field().coerce(None, 'some_field', value))

    def test_the_service_has_one_name(self) -> None:
        self.assertEqual(rpcapi.BINARY, notification_states.SOURCE)

    def test_an_operator_can_refuse_freezes_and_allow_thaws(self) -> None:
        rules = pathlib.Path(tempfile.mkdtemp()) / 'policy.yaml'
        self.addCleanup(shutil.rmtree, rules.parent)
        rules.write_text('"os_compute_api:os-quiesce:quiesce": "!"\n')
        policy.init(policy_file=str(rules))
        register.policy_rules()
        context = nova_context.RequestContext(
            'user', 'project', is_admin=True, roles=['admin'])
        for action, is_allowed in (('quiesce', False), ('unquiesce', True)):
            with self.subTest(action):
                self.assertEqual(is_allowed, policy.authorize(
                    context, policies.POLICY_ROOT % action,
                    {'project_id': 'project'}, do_raise=False))

    def test_policy_rules_are_in_force(self) -> None:
        register.policy_rules()
        register.policy_rules()
        for rule in policies.list_rules():
            self.assertIn(rule.name, policy._ENFORCER.rules)
        for is_admin in (True, False):
            context = nova_context.RequestContext(
                'user', 'project', is_admin=is_admin,
                roles=['admin' if is_admin else 'member'])
            self.assertEqual(is_admin, policy.authorize(
                context, policies.POLICY_ROOT % 'quiesce',
                {'project_id': 'project'}, do_raise=False))

    def test_the_controller_is_added_once(self) -> None:
        register.server_action(controllers.QuiesceController)
        register.server_action(controllers.QuiesceController)
        self.assertEqual(1, register._action_controllers().count(
            controllers.QuiesceController))


class TestRoute(UnmodifiedNovaTest):

    def get(self, path: str) -> Any:
        # Nova's own controllers need a whole cloud.
        with mock.patch.object(routes, 'ROUTE_LIST', tuple(
                route for route in routes.ROUTE_LIST
                if route[0] == '/os-quiesce')):
            router = routes.APIRouterV21()
        request = wsgi.Request.blank(path)
        request.environ['nova.context'] = nova_context.RequestContext(
            'user', PROJECT)
        return request.get_response(router)

    def test_it_answers_with_and_without_a_project(self) -> None:
        self.assertEqual(404, self.get('/os-quiesce').status_int)
        register.route('/os-quiesce', Controller)
        for prefix in ('', '/' + PROJECT):
            answer = self.get(prefix + '/os-quiesce')
            self.assertEqual(200, answer.status_int)
            self.assertEqual({'freezes': []}, json.loads(answer.body))
        self.assertEqual(404, self.get('/os-quiesce/some').status_int)

    def test_it_is_added_once(self) -> None:
        before = routes.ROUTE_LIST
        register.route('/os-quiesce', Controller)
        register.route('/os-quiesce', Controller)
        self.assertEqual(len(before) + 1, len(routes.ROUTE_LIST))
        self.assertEqual(before, routes.ROUTE_LIST[:-1])


class TestDeletion(UnmodifiedNovaTest):
    """Nova's own methods, up to what nova-compute is told."""

    def setUp(self) -> None:
        super().setUp()
        self.saved: list[dict[str, Any]] = []
        for target, name, new in (
                (objects.Instance, 'save', self._save),
                (objects.BlockDeviceMappingList, 'get_by_instance_uuid',
                 mock.Mock(return_value=[])),
                (objects.Service, 'get_by_compute_host', mock.Mock()),
                (compute.API, '_record_action_start', mock.Mock()),
                (compute.API, '_update_queued_for_deletion', mock.Mock())):
            self._patch(mock.patch.object(target, name, new))
        self.api = compute.API.__new__(compute.API)
        self.api.servicegroup_api = mock.Mock()
        self.api.compute_rpcapi = mock.Mock()

    def _save(self) -> None:
        self.saved.append(self.instance.obj_get_changes())
        self.instance.obj_reset_changes()

    def begin(self, method: str, vm_state: str,
              task_state: str | None = None) -> dict[str, Any]:
        """Delete a server, and return what is saved first."""
        self.saved.clear()
        self.instance = objects.Instance(
            uuid=uuidutils.generate_uuid(), host='host', locked=False,
            disable_terminate=False, launched_at=timeutils.utcnow(),
            vm_state=vm_state, task_state=task_state, cleaned=False,
            system_metadata={})
        self.instance.obj_reset_changes()
        getattr(self.api, method)(
            nova_context.get_admin_context(), self.instance)
        return self.saved[0]

    def test_a_quiesced_server_leaves_the_state_with_the_first_save(
            self) -> None:
        register.deletion()
        for method, task_state in (('delete', 'deleting'),
                                   ('soft_delete', 'soft-deleting'),
                                   ('force_delete', 'deleting')):
            for before in (None, 'unquiescing'):
                with self.subTest(method, before=before):
                    saved = self.begin(method, 'quiesced', before)
                    self.assertEqual('active', saved['vm_state'])
                    self.assertEqual(task_state, saved['task_state'])
        self.assertEqual(2, self.api.compute_rpcapi.soft_delete_instance
                         .call_count)
        self.assertEqual(4, self.api.compute_rpcapi.terminate_instance
                         .call_count)

    def test_one_that_may_be_quiesced_meanwhile_leaves_the_state(self) -> None:
        register.deletion()
        self.assertEqual(
            'active', self.begin('delete', 'active', 'quiescing')['vm_state'])

    def test_others_are_deleted_as_ever(self) -> None:
        register.deletion()
        for vm_state in ('active', 'error', 'stopped'):
            saved = self.begin('delete', vm_state)
            self.assertNotIn('vm_state', saved)
            self.assertEqual('deleting', saved['task_state'])

    def test_without_it_nova_compute_would_see_the_state(self) -> None:
        self.assertNotIn('vm_state', self.begin('delete', 'quiesced'))
        self.assertEqual('quiesced', self.instance.vm_state)

    def test_it_is_added_once(self) -> None:
        register.deletion()
        delete = compute.API._delete
        register.deletion()
        self.assertIs(delete, compute.API._delete)


class TestMissing(UnmodifiedNovaTest):

    def setUp(self) -> None:
        super().setUp()
        self.hooks: list[tuple[Any, str]] = [
            (register, 'status'), (notification_states, 'register'),
            (register, 'deletion'), (register, 'policy_rules'),
            (register, 'server_action'), (register, 'route')]
        if compat.NOVA >= compat.RELEASES['2026.1']:
            self.hooks.append((register, 'response_schemas'))

    def test_nothing_is(self) -> None:
        self.assertEqual([], register.missing(controllers.hooks()))
        self.assertEqual([], register.missing(controllers.hooks()))

    def test_what_does_not_take_is_told(self) -> None:
        told = set()
        for module, name in self.hooks:
            with self.subTest(name), mock.patch.object(module, name):
                self.doCleanups()
                self.setUp()
                with mock.patch.object(module, name):
                    found = register.missing(controllers.hooks())
                self.assertEqual(1, len(found), found)
                self.assertRegex(found[0], r'^[A-Z].*\.$')
                told.update(found)
        self.assertEqual(len(self.hooks), len(told))

    def test_what_fails_is_told_with_its_reason(self) -> None:
        for module, name in self.hooks:
            with self.subTest(name), mock.patch.object(
                    module, name, side_effect=AttributeError('no\nsuch.')):
                found = [sentence for sentence
                         in register.missing(controllers.hooks())
                         if 'no such' in sentence]
                self.assertEqual(1, len(found), found)
                self.assertRegex(
                    found[0], r'^[A-Z].* \(AttributeError: no such\)\.$')

    def test_other_ways_to_restrict_a_status_are_seen(self) -> None:
        for schema in ({'enum': ('ACTIVE', 'SHELVED_OFFLOADED')},
                       {'enum': frozenset(['shelved_offloaded'])},
                       {'pattern': '^(ACTIVE|SHELVED_OFFLOADED)$'}):
            with self.subTest(schema=schema), mock.patch.object(
                    register, '_schemas', return_value=[schema]):
                self.assertEqual(1, len(register.missing(controllers.hooks())))

    def test_nova_may_have_the_path_one_day(self) -> None:
        register.route(controllers.LIST_PATH, Controller)
        self.assertEqual(
            ['Nova does not answer the list of what is quiesced.'],
            register.missing(controllers.hooks()))

    def test_the_routes_stay(self) -> None:
        register.missing(controllers.hooks())
        before = routes.ROUTE_LIST
        register.missing(controllers.hooks())
        self.assertIs(before, routes.ROUTE_LIST)
