# SPDX-License-Identifier: Apache-2.0

"""What can be found out is found out before anything is frozen."""

from __future__ import annotations

import json
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import preflight
from osc_quiesce.application import spec
from osc_quiesce.tests.unit.application import preflight_base

PROBE = f'POST {preflight.NO_SERVER.id} quiesce'


class PlanTest(preflight_base.TestCase):
    def test_stages_and_volumes_are_in_order(self) -> None:
        plan = self.accepted()
        self.assertEqual(
            [['db'], ['web']],
            [[server.name for server in stage] for stage in plan.stages],
        )
        self.assertEqual(
            [('db', 'db-root'), ('web', 'web-root'), ('web', 'web-data')],
            [(server.name, volume['id']) for server, volume in plan.snapshots],
        )
        self.assertEqual(
            [0, 0, -1],
            [volume['boot_index'] for _server, volume in plan.snapshots],
        )

    def test_an_answer_that_is_lost_costs_no_plan(self) -> None:
        self.boot_from_image(self.web, 'tiny')
        self.cloud.images['tiny'] = {'hw_qemu_guest_agent': 'yes'}
        self.nova.more['/flavors'] = {
            'flavors': [{'id': 'f', 'name': 'tiny'}]}
        plan = self.accepted(allow_local_disk=True)
        for line in sorted(set(self.nova.log)):
            with self.subTest(line):
                self.answer(line, 502, 'away')
                self.assertEqual(plan, self.accepted(allow_local_disk=True))
        for name in 'volume', 'snapshots', 'image':
            with self.subTest(name):
                read, seen = getattr(self.cloud, name), set()

                def lost(*args: Any) -> Any:
                    if str(args) not in seen:  # noqa: B023
                        seen.add(str(args))  # noqa: B023
                        raise cloud_api.CloudError('away', 502)
                    return read(*args)  # noqa: B023

                with mock.patch.object(self.cloud, name, lost):
                    self.assertEqual(
                        plan, self.accepted(allow_local_disk=True))

    def test_options_of_a_server_count_before_those_of_the_command(
        self,
    ) -> None:
        self.application = spec.Application(
            'shop',
            (
                (
                    spec.Member('db'),
                    spec.Member('web', ('name of web-data',), 60),
                ),
            ),
        )
        plan = self.accepted()
        self.assertEqual(
            [[self.db.id, self.web.id]],
            [[server.id for server in stage] for stage in plan.stages],
        )
        self.assertEqual([120, 60], [s.unquiesce_after for s in plan.servers])
        self.assertEqual(
            ['db-root', 'web-root'], [v['id'] for _s, v in plan.snapshots]
        )
        self.assertTrue(plan.servers[1].volumes[1]['excluded'])

    def test_a_volume_that_two_servers_share_is_taken_once(self) -> None:
        self.attach(self.db, 'web-data')
        plan = self.accepted()
        self.assertEqual(
            [('db', 'db-root'), ('db', 'web-data'), ('web', 'web-root')],
            [(server.name, volume['id']) for server, volume in plan.snapshots],
        )

    def test_everything_that_is_wrong_is_said_at_once(self) -> None:
        self.db.vm_state = 'stopped'
        self.web.shown['locked'] = True
        self.cloud.is_admin = False
        self.cloud.taken = ['nightly']
        self.assertEqual(3, len(self.make().refusals))

    def test_servers_without_any_volume_are_refused(self) -> None:
        self.application = spec.from_servers('shop', ['bare'])
        self.add('bare')
        self.refused('no volume to take a snapshot of')


class NameTest(preflight_base.TestCase):
    """Of servers, and of the set."""

    def test_an_unknown_server_is_refused(self) -> None:
        self.application = spec.from_servers('shop', ['db', 'web', 'nobody'])
        self.refused('"nobody"')

    def test_a_name_of_two_servers_is_refused(self) -> None:
        self.add('web')
        self.refused('2 servers have the name "web"')

    def test_a_server_that_is_named_twice_is_refused(self) -> None:
        self.application = spec.from_servers('shop', ['db', self.db.id])
        self.refused('named twice', self.db.id)

    def test_a_name_of_a_set_that_is_taken_is_refused(self) -> None:
        self.cloud.taken = ['weekly', 'nightly']
        self.refused('There is a snapshot set "nightly" already')

    def test_the_sets_that_there_are_are_noted(self) -> None:
        self.cloud.taken = ['weekly', 'monthly']
        self.assertEqual(
            {'id-of-weekly', 'id-of-monthly'}, self.accepted().sets_before
        )


class QuotaTest(preflight_base.TestCase):
    def quota(self, limit: int, in_use: int = 0) -> dict[str, int]:
        return {'limit': limit, 'in_use': in_use, 'reserved': 1}

    def test_a_set_that_just_fits_is_accepted(self) -> None:
        self.cloud.quotas = {
            'snapshots': self.quota(10, 6),
            'gigabytes': self.quota(20, 13),
            'snapshots_fast': self.quota(-1, 99),
        }
        self.accepted()

    def test_a_set_that_does_not_fit_is_refused(self) -> None:
        for key, limit, amount in (
            ('snapshots', 3, 3),
            ('gigabytes', 6, 6),
            ('snapshots_fast', 3, 3),
            ('gigabytes_fast', 6, 6),
        ):
            with self.subTest(key):
                self.cloud.quotas = {key: self.quota(limit)}
                self.refused(
                    f'quota {key} is too small: {amount} needed, '
                    f'{limit - 1} of {limit} left'
                )

    def test_a_quota_that_cannot_be_read_is_refused(self) -> None:
        self.cloud.quotas = None
        self.refused("Cinder's quota cannot be read: 503 is all it says.")

    def test_a_quota_that_the_caller_may_not_read_is_a_warning(self) -> None:
        for status in 401, 403:
            self.cloud.quotas, self.cloud.quota_status = None, status
            with self.assertLogs('osc_quiesce.application.preflight') as logs:
                self.accepted()
            self.assertIn(f'could not be checked: {status}', logs.output[0])


class RulesTest(preflight_base.TestCase):
    """A credential with access rules: 401 for what they do not have."""

    NEEDED = ('POST /snapshots', 'DELETE /snapshots')

    def test_one_that_may_do_all_that_is_needed_is_accepted(self) -> None:
        self.cloud.rules = ['GET ', *self.NEEDED]
        self.accepted()

    def test_what_is_needed_only_later_is_refused_now(self) -> None:
        for rule in self.NEEDED:
            self.cloud.rules = ['GET ', *self.NEEDED]
            self.cloud.rules.remove(rule)
            refusals = self.make().refusals
            self.assertTrue(refusals)
            for each in refusals:
                self.assertIn(f'do not allow {rule}', each)
            self.assert_only_looked()

    def test_what_is_not_needed_may_be_missing(self) -> None:
        self.cloud.rules = [
            'GET /volumes', 'GET /snapshots', *self.NEEDED]
        with self.assertLogs('osc_quiesce.application.preflight') as logs:
            self.accepted()  # without the quota
        self.assertIn('could not be checked: 401', logs.output[0])


class ProbeTest(preflight_base.TestCase):
    """Whether the cloud can quiesce at all."""

    def refused(self, *words: str, **kwargs: Any) -> str:
        refusal = super().refused(*words, **kwargs)
        # Nobody has named that server.
        self.assertNotIn(f'Server {preflight.NO_SERVER.id}', refusal)
        self.assertNotIn('was not changed', refusal)
        self.nova.hooks.clear()
        return refusal

    def fault(self, status: int, message: str, line: str = PROBE) -> None:
        """Let Nova answer with this fault."""
        key = {
            400: 'badRequest',
            401: 'unauthorized',
            403: 'forbidden',
            409: 'conflictingRequest',
            503: 'serviceUnavailable',
        }[status]
        self.answer(
            line, status, json.dumps({key: {'message': message}}), times=999
        )

    def test_a_cloud_that_would_do_it_is_accepted(self) -> None:
        self.accepted()
        self.assertEqual([PROBE], self.nova.posts())
        self.assertEqual(1, self.nova.log.count('GET /os-quiesce'))

    def test_a_cloud_without_quiesce_api_is_refused(self) -> None:
        for line, status, text in (
            ('GET /os-quiesce', 404, '{"title": "Not Found"}'),
            ('GET /os-quiesce', 404, '{"itemNotFound": {"message": "no"}}'),
            (
                PROBE,
                400,
                '{"badRequest": {"message": "There is no such action: q"}}',
            ),
        ):
            with self.subTest(line=line, text=text):
                self.answer(line, status, text, times=999)
                self.refused(
                    'This cloud would refuse every server: ',
                    'This cloud has no quiesce API: nova_quiesce is not '
                    'installed on its nova-api.',
                )

    def test_a_cloud_without_the_table_of_freezes_gets_no_probe(self) -> None:
        self.answer('GET /os-quiesce', 404, '{"title": "Not Found"}')
        self.refused()
        self.assertEqual([], self.nova.posts())

    def test_longer_freezes_than_the_cloud_allows_are_refused(self) -> None:
        self.application = spec.Application(
            'shop', ((spec.Member('db', (), 9999), spec.Member('web')),)
        )
        asked: list[Any] = []

        def hook(request: Any, context: Any) -> str | None:
            if request.method != 'POST':
                return None
            asked.append(request.json())
            context.status_code = 400
            return '{"badRequest": {"message": "at most 3600"}}'

        self.nova.hooks.append(hook)
        self.assertEqual(
            'This cloud would refuse every server: at most 3600.',
            self.refused(),
        )
        [body] = asked
        self.assertEqual(9999, body['quiesce']['unquiesce_after'])

    def test_a_cloud_that_refuses_says_why(self) -> None:
        for status, message, advice in (
            (401, 'Token is bad', 'Check the credentials'),
            (403, 'Policy does not allow it', 'only administrators'),
            (503, 'No service is up', 'Try again later'),
            (409, 'It is closed today.', ''),
        ):
            for line in PROBE, 'GET /os-quiesce':
                with self.subTest(status=status, line=line):
                    self.fault(status, message, line)
                    self.refused(
                        'This cloud would refuse every server: '
                        f'{message.rstrip(".")}',
                        # Access rules may lack just this request.
                        f' ({line.split()[0]} /v2.1/' if status == 401 else '',
                        advice,
                    )

    def test_a_cloud_that_does_not_answer_is_refused(self) -> None:
        for line in PROBE, 'GET /os-quiesce':
            with self.subTest(line):
                self.drop(line, times=999)
                self.refused(
                    'The quiesce API cannot be used: ', 'connection reset'
                )
                self.answer(line, 502, '<html>', times=999)
                self.assertEqual(
                    'The quiesce API cannot be used: HTTP 502.',
                    self.refused(),
                )

    def test_a_cloud_that_answers_a_little_later_is_accepted(self) -> None:
        self.drop('GET /os-quiesce', times=2)
        self.accepted()

    def test_a_cloud_without_service_that_is_up_is_refused(self) -> None:
        for services in [], [{'state': 'down'}]:
            with self.subTest(services):
                self.services(services)
                self.refused('No nova-quiesce service is up.')

    def test_who_may_not_see_services_is_accepted(self) -> None:
        del self.nova.more['/os-services']
        self.accepted()
