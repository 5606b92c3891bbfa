# SPDX-License-Identifier: Apache-2.0

"""A drill is a restore beside everything else, of which nothing is left."""

from __future__ import annotations

import copy
import pathlib
import re
from typing import Any
from unittest import mock

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import drill
from osc_quiesce.recovery import filling
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import restore
from osc_quiesce.recovery import restores
from osc_quiesce.tests.unit.recovery import restore_base

SOURCES = 'db-vda', 'db-vdb', 'web-vda'
ISOLATED = 'drill:\n  networks: {a-net: isolated}\n'
#: requests of a drill, from its first to its last
STEPS = (
    'POST /volumes/t-db-vda/metadata',
    'POST /backups/b-db-vda/restore',
    'PUT /volumes/t-db-vda/metadata',
    'POST /backups',
    'DELETE /backups',
    'POST /volumes',
    'POST /ports',
    'POST /servers',
    'DELETE /servers',
    'DELETE /ports',
    'DELETE /volumes',
    'PUT /backups/b-db-vda',
)


class TestCase(restore_base.TestCase):
    """A site where an application is drilled.

    :ivar built: what Nova was asked for, in its order
    """

    def setUp(self) -> None:
        super().setUp()
        self.text += ISOLATED
        self.site.lists['networks'].append({'id': 'n3', 'name': 'isolated'})
        self.site.lists['subnets'].append(
            {'id': 's3', 'name': 'i-sub', 'network_id': 'n3',
             'cidr': '10.0.0.0/24'})
        self.built: list[dict[str, Any]] = []
        build = self.site._build

        def note(wanted: dict[str, Any]) -> dict[str, Any]:
            self.built.append(copy.deepcopy(wanted))
            return build(wanted)

        self.site._build = note  # type: ignore[method-assign]

    def drill(self, keep: bool = False, check: str = '',
              **options: Any) -> drill.Outcome:
        drill.prepare(self.waiter, self.point)
        return drill.run(
            self.client, self.cloud,
            self.plan(drill=True, force=True, **options),
            restore.Means(60.0, 60.0, check=check,
                          progress=self.progress.append), keep)

    def assert_nothing_is_left(self) -> None:
        """Check that all is as it was, but for the data of target volumes."""
        self.assertEqual({}, self.site.servers)
        self.assertEqual({}, self.site.ports)
        self.assertEqual(
            {f't-{source}' for source in SOURCES}, set(self.site.volumes))
        for volume in self.site.volumes.values():
            self.assertEqual([], volume['attachments'])
            self.assertNotIn('holder', volume['description'])
            for key in marks.RESTORE_ID, marks.RESTORE, marks.VERIFIED:
                self.assertEqual('', metadata.get(volume, key))
        self.assertEqual(
            {f'b-{source}' for source in SOURCES}, set(self.site.backup_rows))
        for backup in self.site.backup_rows.values():
            self.assertIn(backup['status'], ('available', 'restoring'))
            self.assertEqual('', metadata.get(backup, marks.HIDDEN_BY))

    def recorded(self) -> set[tuple[str, str, str]]:
        """Return what the backups tell of the last drill, without times."""
        return {
            (metadata.get(each, marks.DRILL),
             metadata.get(each, marks.DRILL_RTO),
             'at' if metadata.get(each, marks.DRILLED_AT) else '')
            for each in self.site.backup_rows.values()}

    def stop_at(self, beginning: str, for_good: bool = False) -> None:
        """Let the drill be interrupted when it sends a request like this.

        :param for_good: whether it is killed, so that it sends no more
        """
        hit: list[str] = []

        def stop(line: str) -> None:
            if line.startswith(beginning) and not hit or hit and for_good:
                hit.append(line)
                raise KeyboardInterrupt

        self.site.hooks.append(stop)
        with self.assertRaises(KeyboardInterrupt):
            self.drill()
        self.site.hooks.clear()

    def refuse(self, beginning: str, error: Exception,
               times: int = 1000) -> None:
        """Let requests that begin like this be refused so often."""
        hit: list[str] = []

        def hook(line: str) -> None:
            if line.startswith(beginning) and len(hit) < times:
                hit.append(line)
                raise error

        self.site.hooks.append(hook)


class TestDrill(TestCase):
    def test_it_is_a_restore_of_which_nothing_is_left(self) -> None:
        outcome = self.drill(check='true')
        self.assertEqual(
            (marks.DRILL_OK, True, True),
            (outcome.result, outcome.is_deleted, outcome.is_recorded))
        self.assert_nothing_is_left()
        report = outcome.report
        self.assertEqual(
            ['volumes', 'verification', 'clones', 'stage 1', 'stage 2',
             'deletion'], list(report.phases))
        self.assertEqual([True] * 3, [v.verified for v in report.volumes])
        self.assertEqual(
            [('db', True), ('web', True)],
            [(s.name, s.checked) for s in report.servers])

    def test_the_rto_ends_when_the_last_server_is_ready(self) -> None:
        outcome = self.drill()
        phases = outcome.report.phases
        assert outcome.rto is not None
        self.assertAlmostEqual(
            sum(phases.values()) - phases['deletion'], outcome.rto)
        self.assertEqual(
            {('ok', str(round(outcome.rto)), 'at')}, self.recorded())

    def test_servers_get_clones_under_names_of_their_own(self) -> None:
        for port in self.servers[0]['ports']:
            port['name'] = 'db-port'
        outcome = self.drill(keep=True)
        self.assertEqual(
            ['drill-db', 'drill-web'], [s['name'] for s in self.built])
        disks = [disk['uuid'] for server in self.built
                 for disk in server['block_device_mapping_v2']]
        self.assertEqual([v.id for v in outcome.report.volumes], disks)
        for source, id_ in zip(SOURCES, disks, strict=True):
            clone = self.site.volumes[id_]
            self.assertEqual(f't-{source}', clone['source_volid'])
            self.assertEqual(f'data of {source}', clone['data'])
            self.assertTrue(clone['name'].startswith('drill-shop_'), clone)
            self.assertEqual(source.split('-')[0], clone['metadata']['owner'])
            self.assertEqual([], self.target(source)['attachments'])
        self.assertEqual(
            {'drill-db-port', ''}, {p['name'] for p in self.site.ports.values()
                                    })

    def test_a_boot_volume_stays_one(self) -> None:
        self.drill(keep=True)
        clones = {v['source_volid']: v for v in self.site.volumes.values()
                  if 'source_volid' in v}
        self.assertEqual(
            ('true', 'false'), (clones['t-db-vda']['bootable'],
                                clones['t-db-vdb']['bootable']))

    def test_servers_are_in_the_isolated_network(self) -> None:
        self.drill(keep=True)
        self.assertEqual(
            {'n3'}, {port['network_id'] for port in self.site.ports.values()})

    def test_without_networks_for_drills_servers_have_none(self) -> None:
        self.text = restore_base.MAPPING + 'drill: {prefix: test-}\n'
        outcome = self.drill()
        self.assertEqual(marks.DRILL_OK, outcome.result)
        self.assertEqual(
            [('test-db', 'none'), ('test-web', 'none')],
            [(s['name'], s['networks']) for s in self.built])
        self.assertNotIn('POST /ports', self.site.changes())

    def test_a_network_that_is_missing_is_refused(self) -> None:
        self.text = restore_base.MAPPING + (
            'drill:\n  networks: {c-net: isolated}\n')
        self.assertIn(
            'mapping.yaml has no drill.networks."a-net"',
            self.refused(drill=True))

    def test_a_source_that_runs_is_no_obstacle(self) -> None:
        self.site.servers['db-id'] = {
            'id': 'db-id', 'name': 'db', 'status': 'ACTIVE'}
        self.assertEqual(marks.DRILL_OK, self.drill().result)
        self.assertEqual(['db-id'], list(self.site.servers))

    def test_the_check_is_that_of_a_restore(self) -> None:
        outcome = self.drill(
            check='case $OSC_QUIESCE_SERVER in db|web) ;; *) exit 1; esac')
        self.assertEqual(marks.DRILL_OK, outcome.result)

    def test_target_volumes_are_free_before_servers_start(self) -> None:
        held: list[str] = []

        def look(line: str) -> None:
            if line == 'POST /servers':
                held.extend(metadata.get(self.target(source), marks.RESTORE_ID)
                            for source in SOURCES)

        self.site.hooks.append(look)
        self.drill()
        self.assertEqual({''}, set(held))

    def test_quotas_have_to_have_room_for_the_clones(self) -> None:
        self.site.quotas = {
            'volumes': {'limit': 5, 'in_use': 3, 'reserved': 0}}
        self.assertIn('quota volumes at this site is too small: 3 needed',
                      self.refused(drill=True))
        self.assertEqual([], self.plan().refusals)

    def test_a_backup_that_is_registered_meanwhile_stays_as_it_is(
            self) -> None:
        new = {'backup_set_id': 'new', 'sealed': 'consistent'}

        def register(line: str) -> None:
            if line == 'POST /backups' and 'new' not in self.site.backup_rows:
                self.site.add_backup('t-db-vda', 'newer', id='new',
                                     metadata=metadata.ours(new))

        self.site.hooks.append(register)
        outcome = self.drill()
        self.assertEqual((marks.DRILL_OK, True), (
            outcome.result, outcome.report.volumes[0].verified))
        row = self.site.backup_rows.pop('new')
        self.assertEqual(('available', metadata.ours(new)),
                         (row['status'], row['metadata']))
        self.assert_nothing_is_left()

    def test_a_restore_of_the_same_name_is_another_thing(self) -> None:
        self.restore(name='drill-nightly')
        before = copy.deepcopy((self.site.servers, self.site.volumes))
        self.assertEqual(marks.DRILL_OK, self.drill().result)
        self.assertEqual(before, (self.site.servers, self.site.volumes))


class TestTargetVolumes(TestCase):
    """They are used for the proof only, and only if nobody has them."""

    def assert_untouched(self, *sources: str) -> None:
        for source in sources:
            for line in self.site.log:
                self.assertNotIn(f'/volumes/t-{source}', line)
            self.assertEqual('', self.target(source)['data'])

    def test_without_a_proof_they_are_not_touched(self) -> None:
        for is_admin, verify in (False, None), (True, False):
            with self.subTest(is_admin=is_admin):
                self.setUp()
                self.site.is_admin = is_admin
                outcome = self.drill(verify=verify)
                self.assertEqual(marks.DRILL_OK, outcome.result)
                self.assertEqual(
                    [False] * 3, [v.verified for v in outcome.report.volumes])
                self.assert_untouched(*SOURCES)
                self.assert_nothing_is_left()

    def test_a_member_is_told_the_reason_once(self) -> None:
        self.site.is_admin = False
        (warning,) = self.plan(drill=True).warnings
        self.assertIn('Only an administrator can prove', warning)

    def test_one_that_is_not_free_is_not_touched(self) -> None:
        for change in (
            {'status': 'in-use', 'attachments': [{'server_id': 'someone'}]},
            {'metadata': restore_base.taken('t-db-vda')},
            {'status': 'error'},
            {'size': 2},
            # The place to go back to after a failover
            {'description': 'mine',
             'metadata': metadata.ours({marks.TARGET_OF: 'db-vda',
                                        marks.VOLUME: 't-db-vda'})},
        ):
            with self.subTest(change):
                self.setUp()
                self.target('db-vda').update(change)
                before = copy.deepcopy(self.target('db-vda'))
                self.assertIn('that no server and no restore has: db-vda',
                              self.refused(drill=True, verify=True))
                (warning,) = self.plan(drill=True).warnings
                self.assertIn('db-vda', warning)
                self.assertNotIn('web-vda', warning)
                outcome = self.drill()
                self.assertEqual(marks.DRILL_OK, outcome.result)
                self.assertEqual([False, True, True], [
                    v.verified for v in outcome.report.volumes])
                self.assertEqual(before, self.target('db-vda'))

    def test_one_into_which_something_is_restored_is_not_touched(
            self) -> None:
        other = self.site.add_backup(
            't-db-vda', 'of another set', status='restoring',
            layers=[{}] * 9)  # which takes long
        plan = self.plan(drill=True, force=True)
        self.target('db-vda').update(
            {'status': 'restoring-backup', 'from': other})
        late = drill.run(
            self.client, self.cloud, plan, restore.Means(60.0, 60.0))
        self.assertIn('another backup is being restored', late.why)
        self.target('db-vda').update(
            {'status': 'restoring-backup', 'from': other})
        item = self.plan(drill=True, force=True).items[0]
        self.assertEqual((None, False), (item.volume, item.is_target))

    def test_what_another_restore_has_by_now_is_not_cloned(self) -> None:
        clone = filling.Filler.clone

        def take(filler: Any, item: Any, volume_id: str) -> Any:
            restore_base.take(self.target('db-vda'))
            return clone(filler, item, volume_id)

        with mock.patch.object(filling.Filler, 'clone', take):
            outcome = self.drill()
        self.assertIn(
            'db-vda (/dev/vda of server db) was not cloned: volume t-db-vda '
            'has the data of restore other', outcome.why)
        self.assertEqual([], self.built)

    def test_what_a_restore_has_taken_since_the_plan_is_not_touched(
            self) -> None:
        drill.prepare(self.waiter, self.point)
        plan = self.plan(drill=True, force=True)
        self.restore()
        before = copy.deepcopy(self.site.volumes)
        log = len(self.site.log)
        outcome = drill.run(self.client, self.cloud, plan,
                            restore.Means(60.0, 60.0))
        self.assertEqual((marks.DRILL_FAILED, True),
                         (outcome.result, outcome.is_deleted))
        self.assertIn('restore nightly', outcome.why)
        self.assertEqual(before, self.site.volumes)
        self.assertEqual([], [line for line in self.site.log[log:]
                              if not line.startswith('PUT /backups/')])

    def test_one_that_a_restore_takes_while_it_is_cloned_stays_taken(
            self) -> None:
        def take(line: str) -> None:
            if line == 'POST /volumes':
                restore_base.take(self.target('db-vda'))
                self.site.hooks.clear()

        self.site.hooks.append(take)
        self.drill(parallel=1)
        self.assertEqual(restore_base.taken('t-db-vda'),
                         self.target('db-vda')['metadata'])
        self.assertEqual('x', marks.owner(self.target('db-vda')))

    def test_one_that_was_restored_by_hand_is_not_touched(self) -> None:
        """As the page says, and while its server is made again."""
        page = pathlib.Path(__file__).parents[4] / (
            'doc/source/user/by-hand.rst')
        properties = dict(re.findall(r'--property (\S+?)=(\S+)',
                                     page.read_text()))
        target = self.target('db-vda')
        target.update({'data': 'new', 'metadata': {
            key: value.replace('"$db"', target['id'])
            for key, value in properties.items()}})
        before = copy.deepcopy(target)
        self.assertIn('volume t-db-vda has the data of restore by-hand: '
                      '"openstack application restore delete by-hand"',
                      self.refused())
        self.assertEqual([False, True, True], [
            v.verified for v in self.drill().report.volumes])
        self.assertEqual(before, target)
        # It is given up as the page says.
        restores.delete(restores.find(self.cloud, 'by-hand'), self.waiter)
        self.assertEqual('new', target['data'])
        self.assertEqual([True] * 3, [
            v.verified for v in self.drill().report.volumes])

    def test_marks_that_cinder_has_put_on_one_are_no_obstacle(self) -> None:
        self.target('db-vda')['metadata'] = restore_base.taken('db-vda')
        self.assertEqual([True] * 3, [
            v.verified for v in self.drill().report.volumes])
        self.assert_nothing_is_left()

    def test_a_set_that_is_not_registered(self) -> None:
        self.unregister('db-vda')
        outcome = self.drill()
        self.assertEqual((marks.DRILL_OK, False), (
            outcome.result, outcome.report.volumes[0].verified))
        self.assertEqual({'t-db-vdb', 't-web-vda'}, set(self.site.volumes))

    def test_one_that_failed_before_is_mended(self) -> None:
        self.target('db-vda')['status'] = 'error_restoring'
        outcome = self.drill()
        self.assertTrue(outcome.report.volumes[0].verified)
        self.assert_nothing_is_left()


class TestFailures(TestCase):
    """What fails is deleted all the same, and recorded."""

    def failed(self, **options: Any) -> str:
        outcome = self.drill(**options)
        self.assertEqual(
            (marks.DRILL_FAILED, None, True, True),
            (outcome.result, outcome.rto, outcome.is_deleted,
             outcome.is_recorded))
        self.assert_nothing_is_left()
        self.assertEqual({('failed', '', 'at')}, self.recorded())
        return outcome.why

    def test_a_check_that_fails(self) -> None:
        why = self.failed(check='echo not yet; exit 3')
        self.assertIn('exit code 3, not yet', why)
        self.assertNotIn('left as it is', why)

    def test_a_volume_that_differs_boots_nothing(self) -> None:
        self.site.damage = lambda volume: volume.update(data='x')
        self.assertIn('DIFFERS', self.failed())
        self.assertEqual([], self.built)

    def test_a_server_that_does_not_build(self) -> None:
        self.site.builds_to = ['ERROR']
        why = self.failed()
        self.assertIn('is ERROR: no valid host', why)
        self.assertNotIn('kept', why)

    def test_a_restore_that_fails(self) -> None:
        self.site.restores_to = ['error_restoring']
        self.assertIn('error_restoring', self.failed(parallel=1))

    def test_a_clone_that_fails(self) -> None:
        def refuse(line: str) -> None:
            if line == 'POST /volumes':
                raise cloud_api.CloudError('no room', 413)

        self.site.hooks.append(refuse)
        self.assertIn('No volume was made for volume', self.failed())
        self.assertEqual([], self.built)

    def test_a_failure_after_a_success_has_no_rto(self) -> None:
        self.drill()
        self.assertNotIn(('ok', '', 'at'), self.recorded())
        self.failed(check='false')


class TestInterruptions(TestCase):
    def test_whatever_was_begun_is_deleted(self) -> None:
        for beginning in STEPS[:-4]:
            with self.subTest(beginning):
                self.setUp()
                self.stop_at(beginning)
                self.assert_nothing_is_left()
                self.assertEqual({('', '', '')}, self.recorded())

    def test_marks_that_cinder_has_copied_hide_nothing(self) -> None:
        for source in SOURCES:
            self.site.backup_rows[f'b-{source}']['source_metadata'] = (
                restore_base.taken(source, 'before', 'earlier'))
        self.site.is_admin = False  # so the volumes are the drill's own
        for for_good in False, True:
            self.stop_at('POST /volumes/volume-', for_good)
            if for_good:
                self.assertLess(3, len(self.site.volumes))
                drill.prepare(self.waiter, self.point)
            self.assert_nothing_is_left()

    def test_after_a_kill_the_same_command_ends_right(self) -> None:
        for beginning in STEPS:
            with self.subTest(beginning):
                self.setUp()
                self.stop_at(beginning, for_good=True)
                self.assertEqual(marks.DRILL_OK, self.drill().result)
                self.assert_nothing_is_left()

    def test_marks_that_come_home_hide_nothing(self) -> None:
        self.restore(start=False)
        row = self.site.backup_rows['b-db-vda']
        row['layers'] = [self.target('db-vda')['metadata'], {'owner': 'db'}]
        for found in restores.find_all(self.cloud):
            restores.delete(found, self.waiter)
        self.site.restores_to = ['error_restoring']
        # It is killed before it can delete anything.
        with mock.patch.object(drill._Drill, 'clean'), mock.patch.object(
                drill._Drill, 'record'):
            self.drill(parallel=1)
        self.assertEqual('error_restoring', self.target('db-vda')['status'])
        self.assertEqual([True] * 3, [
            v.verified for v in self.drill().report.volumes])
        self.assertIn('Drill drill-nightly', self.said)
        self.assert_nothing_is_left()

    def test_after_a_kill_all_is_measured_anew(self) -> None:
        self.stop_at('POST /ports', for_good=True)
        self.site.log.clear()
        outcome = self.drill()
        self.assertEqual(3, sum(
            line.endswith('/restore') for line in self.site.log))
        self.assertIn('Drill drill-nightly', self.said)
        self.assertIn('volumes', outcome.report.phases)

    def test_a_mapping_that_was_changed_since_does_no_harm(self) -> None:
        self.stop_at('POST /servers', for_good=True)
        self.text = self.text.replace('drill:', 'drill:\n  prefix: test-')
        self.assertEqual(marks.DRILL_OK, self.drill().result)
        self.assert_nothing_is_left()

    def test_no_newer_backup_stays_hidden(self) -> None:
        for for_good in False, True:
            for beginning in (
                'PUT /backups/newer', 'POST /backups/newer/action',
                'POST /backups',
            ):
                with self.subTest(beginning, for_good=for_good):
                    self.setUp()
                    self.site.add_backup('t-db-vda', 'newer', id='newer')
                    before = copy.deepcopy(self.site.backup_rows['newer'])
                    self.stop_at(beginning, for_good)
                    if for_good:
                        self.assertEqual(marks.DRILL_OK, self.drill().result)
                    newer = self.site.backup_rows.pop('newer')
                    self.assertEqual(before, newer)
                    self.assert_nothing_is_left()

    def test_proofs_of_a_restore_that_took_over_are_left(self) -> None:
        def take_over(line: str) -> None:
            if line == 'POST /servers':
                restore_base.take(self.target('db-vda'), 'real')
                self.site.add_backup(
                    't-db-vda', 'x', id='its-proof',
                    metadata=metadata.ours({marks.PROOF_OF: 'b-db-vda'}))
                raise KeyboardInterrupt

        self.site.hooks.append(take_over)
        with self.assertRaises(KeyboardInterrupt):
            self.drill()
        self.assertIn('its-proof', self.site.backup_rows)
        self.assertEqual(
            'real', metadata.get(self.target('db-vda'), marks.RESTORE_ID))


class TestLeft(TestCase):
    def test_what_cannot_be_deleted_is_named(self) -> None:
        self.refuse('DELETE /servers', cloud_api.CloudError('locked', 409), 1)
        outcome = self.drill()
        self.assertEqual((marks.DRILL_OK, False, True), (
            outcome.result, outcome.is_deleted, outcome.is_recorded))
        (left,) = self.site.servers.values()
        self.assertIn('Not all of drill drill-nightly is deleted: locked',
                      self.said)
        self.assertIn(f'server drill-db ({left["id"]}), volume', self.said)
        plan = self.plan(drill=True)
        self.assertIn(
            f'"openstack application restore delete {plan.restore_id}"',
            self.said)
        # The rest is deleted.
        self.assertEqual({}, self.site.ports)
        self.assertEqual(3 + 2, len(self.site.volumes))
        restores.delete(
            restores.find(self.cloud, plan.restore_id), self.waiter)
        self.assert_nothing_is_left()

    def test_a_site_that_is_away_is_told_in_sentences(self) -> None:
        plan = self.plan(drill=True)
        with mock.patch.object(restores, 'find_all', side_effect=(
                cloud_api.CloudError('no answer', 403))):
            outcome = drill.run(self.client, self.cloud, plan,
                                restore.Means(60.0, 60.0))
        self.assertFalse(outcome.is_deleted)
        self.assertIn('is deleted: no answer. Its servers', self.said)

    def test_a_refusal_that_passes_is_no_matter(self) -> None:
        self.refuse('DELETE', cloud_api.CloudError('try later', 503), 3)
        self.assertTrue(self.drill().is_deleted)
        self.assert_nothing_is_left()

    def test_a_proof_that_cannot_be_deleted_is_named(self) -> None:
        self.refuse('DELETE /backups', cloud_api.CloudError('no', 403))
        outcome = self.drill()
        self.assertEqual((marks.DRILL_OK, False), (
            outcome.result, outcome.is_deleted))
        self.assertRegex(self.said, 'Proofs have left these backups behind, '
                                    'or in error: backup-')
        self.assertEqual({}, self.site.servers)
        self.site.hooks.clear()
        self.drill()
        self.assert_nothing_is_left()

    def test_keep_says_how_to_delete(self) -> None:
        outcome = self.drill(keep=True)
        self.assertEqual((marks.DRILL_OK, False, True), (
            outcome.result, outcome.is_deleted, outcome.is_recorded))
        self.assertEqual(2, len(self.site.servers))
        found = restores.find(self.cloud, 'drill-nightly')
        self.assertEqual(('complete', 0), (found.state, found.verified))
        self.assertIn(f'restore delete {found.id}"', self.said)
        restores.delete(found, self.waiter)
        self.assert_nothing_is_left()

    def test_a_drill_that_is_kept_goes_before_the_next(self) -> None:
        self.drill(keep=True)
        self.assertEqual(marks.DRILL_OK, self.drill().result)
        self.assert_nothing_is_left()

    def test_keep_keeps_a_failed_one(self) -> None:
        self.drill(keep=True, check='false')
        self.assertEqual(1, len(self.site.servers))
        self.assertEqual({('failed', '', 'at')}, self.recorded())

    def test_a_result_that_is_not_recorded_is_said(self) -> None:
        for check, result in (
                ('true', marks.DRILL_OK), ('false', marks.DRILL_FAILED)):
            with self.subTest(result):
                self.setUp()
                self.refuse('PUT /backups', cloud_api.CloudError('no', 403))
                outcome = self.drill(check=check)
                self.assertEqual((result, True, False), (
                    outcome.result, outcome.is_deleted, outcome.is_recorded))
                self.assertIn(
                    f'The result of the drill, {result}, is not recorded with '
                    'backup set nightly (set-id): no.', self.said)

    def test_only_plans_that_can_be_done_are(self) -> None:
        self.state = 'pending'
        with self.assertRaises(errors.NotPossible):
            self.drill()
        self.assertEqual([], self.site.log)
