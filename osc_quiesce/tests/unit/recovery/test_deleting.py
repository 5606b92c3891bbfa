# SPDX-License-Identifier: Apache-2.0

"""Sets are deleted newest first, and never what something else needs."""

from __future__ import annotations

import datetime
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import errors
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import deleting
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import retention
from osc_quiesce.tests.unit.recovery import backup_base


class TestCase(backup_base.TestCase):
    """Three sets: monday (full), tuesday and wednesday (incremental)."""

    DAYS = ('monday', 'tuesday', 'wednesday')

    def setUp(self) -> None:
        super().setUp()
        self.create('monday', destination=self.destination())
        for day in self.DAYS[1:]:
            self.take(day)
            self.create(day, destination=self.destination())

    def removal(self, *names: str, **kwargs: Any) -> retention.Removal:
        kwargs.setdefault('other_site_is_gone', 'elsewhere' not in kwargs)
        if 'elsewhere' in kwargs:
            kwargs.setdefault('to_cloud', 'B')
        kwargs.setdefault('now', datetime.datetime.fromisoformat(
            f'{self.clock.text}+00:00'))
        return retention.plan(self.cloud, names, **kwargs)

    def assert_refused(
        self, words: str, *names: str, **kwargs: Any
    ) -> None:
        problems = self.removal(*names, **kwargs).problems
        self.assertIn(words, ' '.join(problems))

    def delete(self, *names: str, **kwargs: Any) -> None:
        removal = self.removal(*names, **kwargs)
        self.assertEqual((), removal.problems)
        deleting.carry_out(
            removal, self.cloud, kwargs.get('elsewhere'), self.timer)

    def days(self, site: Any = None) -> list[str]:
        return [
            each.name for each in backup_sets.find_all(site or self.cloud)
        ]


class DeleteTest(TestCase):
    def test_the_newest_set_goes_alone(self) -> None:
        self.delete('wednesday')
        self.assertEqual(['monday', 'tuesday'], self.days())

    def test_several_sets_go_newest_first(self) -> None:
        self.delete(*self.DAYS)
        self.assertEqual([], self.days())
        self.assertEqual(set(), self.store)

    def test_what_others_depend_on_is_refused(self) -> None:
        self.assert_refused(
            'tuesday has only the differences to a backup that',
            'monday',
        )
        self.assert_refused('wednesday has only', 'monday')

    def test_backups_that_are_not_ours_count(self) -> None:
        newest = self.find('wednesday').backups[0]
        self.a.rows['mine'] = {
            **self.a.rows[newest['id']],
            'id': 'mine',
            'metadata': {},
            'data_timestamp': '2026-11-30T00:00:00.000000',
        }
        self.a.parents['mine'] = newest['id']
        self.assert_refused('mine has only the differences', 'wednesday')

    def test_what_is_being_restored_is_refused(self) -> None:
        for row in self.a.rows.values():
            if metadata.get(row, 'backup_set') == 'wednesday':
                row['status'] = 'restoring'
        self.assert_refused('status restoring', 'wednesday')

    def test_what_a_proof_hides_is_refused(self) -> None:
        for row in self.a.rows.values():
            row['metadata'].update(metadata.ours({marks.HIDDEN_BY: 'x'}))
        self.assert_refused(
            'hidden for a comparison: if that was broken off, the next '
            'restore or drill of a set with this volume ends it', 'wednesday')

    def test_a_set_that_is_not_there(self) -> None:
        with self.assertRaisesRegex(
            backup_sets.NoSuchSet, 'may already have been deleted'
        ):
            self.removal('sunday')

    def test_deleting_can_be_repeated(self) -> None:
        removal = self.removal('wednesday')
        for _again in range(2):
            deleting.delete(self.cloud, removal.backups, self.timer)
        self.assertEqual(['monday', 'tuesday'], self.days())

    def test_what_cannot_be_deleted_is_named(self) -> None:
        removal = self.removal('wednesday')
        id_ = removal.backups[0]['id']
        self.a.refusals[f'DELETE /backups/{id_}'] = [
            cloud_api.CloudError('is in use', 400)
        ] * 5
        with self.assertRaisesRegex(
            errors.ApplicationError, rf'{id_} \(is in use\)'
        ):
            deleting.delete(self.cloud, removal.backups, self.timer)
        self.assertEqual(1, len(self.find('wednesday').backups))

    def test_what_is_older_of_a_volume_is_left_then(self) -> None:
        removal = self.removal('tuesday', 'wednesday')
        id_ = removal.backups[0]['id']
        volume = removal.backups[0]['volume_id']
        self.a.refusals[f'DELETE /backups/{id_}'] = [
            cloud_api.CloudError('is in use', 400)
        ] * 5
        with self.assertRaises(errors.ApplicationError):
            deleting.delete(self.cloud, removal.backups, self.timer)
        self.assertEqual(
            3,
            sum(row['volume_id'] == volume for row in self.a.rows.values()),
        )

    def test_a_store_that_keeps_it_is_told(self) -> None:
        # As a read-only one does: 202, and then status error.
        removal = self.removal('wednesday')
        row = self.a.rows[removal.backups[0]['id']]

        def gone(id_: str) -> None:
            self.a.rows[id_].update(
                status='error', fail_reason='Read-only file system'
            )

        self.a._gone = gone  # type: ignore[method-assign]
        with self.assertRaisesRegex(
            errors.ApplicationError, 'Read-only file system'
        ):
            deleting.delete(self.cloud, [row], self.timer)

    def test_a_cinder_that_is_away_for_a_while_is_waited_for(self) -> None:
        removal = self.removal('wednesday')
        self.a.refusals['GET /backups'] = [
            cloud_api.CloudError('away', 503)
        ] * 5
        deleting.delete(self.cloud, removal.backups, self.timer)
        self.assertEqual(['monday', 'tuesday'], self.days())

    def test_without_a_service_nothing_counts_as_gone(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        self.a.services = [{**backup_base.UP, 'state': 'down'}]
        with self.assertRaisesRegex(
                errors.ApplicationError, 'no cinder-backup service is up'):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        for site in self.a, self.b:
            self.assertEqual(3, len(self.find('wednesday', site).backups))
        self.assertEqual(9, len(self.store))

    def test_a_service_that_comes_back_is_waited_for(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        up, self.a.services = self.a.services, []
        self.clock.after(300, lambda: self.a.services.extend(up))
        deleting.carry_out(removal, self.cloud, self.other, self.timer)
        for site in self.a, self.b:
            self.assertEqual(['monday', 'tuesday'], self.days(site))

    def test_the_time_may_be_up(self) -> None:
        removal = self.removal('wednesday')
        self.a._gone = lambda id_: None  # type: ignore[method-assign]
        with self.assertRaisesRegex(
            errors.ApplicationError, 'still being deleted'
        ):
            deleting.delete(
                self.cloud, removal.backups, self.timer, timeout=30.0
            )


class KeepLastTest(TestCase):
    def test_what_the_kept_ones_need_is_kept(self) -> None:
        removal = self.removal(application='shop', keep_last=1)
        self.assertEqual((), removal.problems)
        self.assertEqual(
            ['monday', 'tuesday'], [each.name for each in removal.sets]
        )
        self.assertEqual((), removal.backups)

    def test_an_older_chain_goes_when_a_newer_one_is_enough(self) -> None:
        self.take('thursday')
        self.create('thursday', full_every=1)
        self.delete(application='shop', keep_last=1)
        self.assertEqual(['thursday'], self.days())

    def test_of_named_sets_the_last_ones_are_kept(self) -> None:
        self.take('thursday')
        self.create('thursday', full_every=1)
        self.delete('wednesday', 'tuesday', keep_last=1)
        self.assertEqual(['monday', 'tuesday', 'wednesday', 'thursday'],
                         self.days())

    def test_a_set_that_is_not_consistent_does_not_count(self) -> None:
        self.take('thursday')
        self.a.fates = ['the disk is full']
        with self.assertRaises(errors.ApplicationError):
            self.create('thursday', full_every=1)
        removal = self.removal(application='shop', keep_last=1)
        self.assertEqual(
            ['monday', 'tuesday'], [each.name for each in removal.sets]
        )

    def test_the_same_again_deletes_what_it_has_left(self) -> None:
        self.take('thursday')
        self.create('thursday', full_every=1)
        self.a.refusals['DELETE /backups'] = [
            cloud_api.CloudError('is in use', 400)]
        with self.assertRaisesRegex(
                errors.ApplicationError, 'same command again continues'):
            self.delete(application='shop', keep_last=1)
        self.delete(application='shop', keep_last=1)
        self.assertEqual(['thursday'], self.days())

    def test_what_the_other_site_can_restore_is_kept(self) -> None:
        for day in 'thursday', 'friday':
            self.take(day)
            self.create(day, full_every=1)
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual((), removal.problems)
        self.assertEqual(
            ['monday', 'tuesday', 'thursday'],
            [each.name for each in removal.sets])
        warning, = removal.warnings
        self.assertIn('last ones that the other site can restore: wednesday (',
                      warning)
        deleting.carry_out(removal, self.cloud, self.other, self.timer)
        # With what it needs
        self.assertEqual([*self.DAYS, 'friday'], self.days())
        for day in self.DAYS:
            self.assertEqual(
                backup_sets.CONSISTENT, self.find(day, self.other).state)

    def test_as_many_are_kept_there(self) -> None:
        for day, destination in (
                ('thursday', self.destination()), ('friday', None),
                ('saturday', None)):
            self.take(day)
            self.create(day, full_every=1, destination=destination)
        for number, days in (1, [*self.DAYS, 'friday']), (
                2, ['monday', 'tuesday']):
            removal = self.removal(
                application='shop', keep_last=number, elsewhere=self.other)
            self.assertEqual(days, [each.name for each in removal.sets])

    def test_what_is_registered_but_not_consistent_does_not_count(
            self) -> None:
        row = self.b.rows[self.find('wednesday', self.other).backups[0]['id']]
        row['status'] = 'error'
        for day in 'thursday', 'friday':
            self.take(day)
            self.create(day, full_every=1)
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(['monday', 'wednesday', 'thursday'],
                         [each.name for each in removal.sets])

    def test_fewer_than_that_are_all_kept(self) -> None:
        self.assertEqual(
            (), self.removal(application='shop', keep_last=3).sets
        )

    def moment(self, day: str, text: str) -> None:
        for row in self.a.rows.values():
            if metadata.get(row, 'backup_set') == day:
                row['metadata'].update(metadata.ours({'created_at': text}))

    def assert_nothing_is_known(self, *words: str) -> None:
        self.take('thursday')
        self.create('thursday', full_every=1)
        problem, = self.removal(application='shop', keep_last=1).problems
        for each in words:
            self.assertIn(each, problem)

    def test_a_set_of_the_future_deletes_no_newer_one(self) -> None:
        self.moment('wednesday', '2036-11-29T00:00:00Z')
        self.assert_nothing_is_known(
            'wednesday', 'moment "2036-11-29T00:00:00Z"',
            'is in the future', 'delete that set by its name')

    def test_nor_one_whose_moment_cannot_be_read(self) -> None:
        self.moment('wednesday', 'whenever')
        self.assert_nothing_is_known(
            'wednesday', 'moment "whenever"', 'cannot be read')

    def test_such_a_set_can_be_deleted_by_its_name(self) -> None:
        self.moment('wednesday', '2036-11-29T00:00:00Z')
        self.delete('wednesday')
        self.assertEqual(['monday', 'tuesday'], self.days())

    def test_clocks_may_be_a_little_apart(self) -> None:
        now = datetime.datetime.fromisoformat(
            self.find('wednesday').created_at).replace(tzinfo=datetime.UTC)
        for seconds, expected in ((60, 0), (61, 1)):
            removal = self.removal(
                application='shop', keep_last=1,
                now=now - datetime.timedelta(seconds=seconds))
            self.assertEqual(expected, len(removal.problems))

    def test_other_applications_are_left_alone(self) -> None:
        self.assertEqual(
            (), self.removal(application='other', keep_last=1).sets
        )


class OwnerTest(TestCase):
    def test_the_other_site_deletes_nothing(self) -> None:
        problems = retention.plan(self.other, ['wednesday']).problems
        self.assertIn('was made at another site', problems[0])
        self.assertIn('--owner-is-gone', problems[0])

    def test_it_does_once_the_owner_is_gone(self) -> None:
        removal = retention.plan(
            self.other, ['wednesday'], owner_is_gone=True
        )
        self.assertEqual((), removal.problems)
        deleting.delete(self.other, removal.backups, self.timer)
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))

    def test_what_is_deleted_is_not_registered_any_more(self) -> None:
        self.delete('wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days())
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))

    def test_that_is_made_up_for_when_it_was_interrupted(self) -> None:
        self.delete('wednesday')
        self.assertEqual(list(self.DAYS), self.days(self.other))
        self.delete('wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))

    def test_what_is_kept_here_is_kept_there(self) -> None:
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(list(self.DAYS), self.days(self.other))

    def test_sets_of_another_site_are_no_obstacle_to_retention(self) -> None:
        for row in self.a.rows.values():
            if metadata.get(row, 'backup_set') == 'monday':
                row['metadata'].update(metadata.ours({'owner': 'other'}))
        removal = self.removal(application='shop', keep_last=1)
        self.assertEqual((), removal.problems)
        self.assertEqual(['tuesday'], [each.name for each in removal.sets])


class TakenBackTest(TestCase):
    """Nothing is called consistent whose data are gone, or may be."""

    def states(self) -> dict[str, str]:
        return {each.name: each.state
                for each in backup_sets.find_all(self.other)}

    def test_a_deletion_that_is_broken_off_leaves_nothing_sealed(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        self.a.refusals[f'DELETE /backups/{removal.backups[1]["id"]}'] = [
            cloud_api.CloudError('the store is away', 400)] * 5
        with self.assertRaises(errors.ApplicationError):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.assertEqual(3, len(self.find('wednesday', self.other).backups))
        self.assertEqual(
            {'monday': backup_sets.CONSISTENT,
             'tuesday': backup_sets.CONSISTENT,
             'wednesday': backup_sets.PENDING}, self.states())

    def test_the_same_again_removes_what_is_partly_gone(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        self.a.refusals[f'DELETE /backups/{removal.backups[1]["id"]}'] = [
            cloud_api.CloudError('the store is away', 400)]
        with self.assertRaises(errors.ApplicationError):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.delete('wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))
        self.assertEqual(6, len(self.b.rows))

    def test_a_signal_as_well(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        self.clock.is_stopped = True
        with self.assertRaises(backup_base.Stopped):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.assertEqual(backup_sets.PENDING, self.states()['wednesday'])

    def interrupt(self) -> None:
        """Let retention end when all is deleted here, and nothing there."""
        self.take('thursday')
        self.create('thursday', full_every=1, destination=self.destination())
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        self.b.services = []
        with self.assertRaises(errors.ApplicationError):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.b.services = self.a.services
        self.assertEqual(['thursday'], self.days())
        self.assertEqual(12, len(self.b.rows))

    def test_retention_continues_what_was_interrupted(self) -> None:
        self.interrupt()
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(['thursday'], self.days(self.other))

    def test_but_not_while_something_there_needs_it(self) -> None:
        self.interrupt()
        row = self.b.rows[self.find('monday', self.other).backups[0]['id']]
        row['status'] = 'restoring'
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(['monday', 'thursday'], self.days(self.other))

    def test_it_touches_no_set_that_was_not_to_be_deleted(self) -> None:
        # The owner was made anew, and has none of them.
        self.a.rows.clear()
        for row in self.b.rows.values():
            if metadata.get(row, 'backup_set') == 'wednesday':
                row['metadata'].update(metadata.ours({'sealed': ''}))
        for application in 'shop', 'other':
            removal = self.removal(
                application=application, keep_last=1, elsewhere=self.other)
            self.assertEqual(frozenset(), removal.rows)

    def test_nothing_is_deleted_if_it_cannot_be_written(self) -> None:
        removal = self.removal('wednesday', elsewhere=self.other)
        self.b.refusals['PUT /backups'] = [
            cloud_api.CloudError('no', 403)] * 5
        with self.assertRaises(errors.ApplicationError):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.assertEqual(list(self.DAYS), self.days())
        self.assertEqual(9, len(self.store))

    def test_what_is_registered_is_refused_without_the_other_site(
            self) -> None:
        problem, = self.removal(
            'wednesday', other_site_is_gone=False).problems
        for words in ('wednesday', 'registered at B', '--to-cloud',
                      '--other-site-is-gone'):
            self.assertIn(words, problem)

    def test_nor_is_it_with_another_site(self) -> None:
        c: Any = backup_base.FakeSite('c', self.clock, self.store)
        for names, wish in (('wednesday',), {}), ((), {
                'application': 'shop', 'keep_last': 1}):
            problems = self.removal(
                *names, **wish, elsewhere=c, to_cloud='C').problems
            self.assertIn('registered at B', problems[0])
            self.assertIn('If it has another name now', problems[0])

    def test_what_is_not_registered_is_deleted_without_it(self) -> None:
        self.take('thursday')
        self.create('thursday')
        self.delete('thursday', other_site_is_gone=False)
        self.assertEqual(list(self.DAYS), self.days())


class PartlyRegisteredTest(TestCase):
    """What another site has of a set is not left there, however little."""

    def assert_nothing_is_left(self, *names: str) -> None:
        problem, *more = self.removal(
            *names, other_site_is_gone=False).problems
        self.assertIn('or a part of it, may be registered at B', problem)
        self.assertEqual([], more)
        self.delete(*names, elsewhere=self.other)
        self.assertEqual(list(self.DAYS), self.days())
        self.assertEqual(list(self.DAYS), self.days(self.other))
        self.assertEqual(9, len(self.b.rows))

    def test_a_registration_that_was_interrupted(self) -> None:
        self.take('thursday')
        self.b.import_fates = ['', 'the store is away']
        with self.assertRaises(errors.ApplicationError):
            self.create('thursday', destination=self.destination())
        self.assertEqual('', self.find('thursday').registered)
        self.assertEqual(
            backup_sets.INCOMPLETE, self.find('thursday', self.other).state)
        self.assert_nothing_is_left('thursday')

    def test_one_of_which_only_a_row_in_error_is_left(self) -> None:
        self.take('thursday')
        self.b.import_fates = ['the store is away'] * 3
        with self.assertRaises(errors.ApplicationError):
            self.create('thursday', destination=self.destination())
        self.assertEqual(12, len(self.b.rows))
        self.assert_nothing_is_left('thursday')

    def test_one_whose_owner_is_gone_since(self) -> None:
        self.take('thursday')
        self.b.import_fates = ['', 'the store is away']
        with self.assertRaises(errors.ApplicationError):
            self.create('thursday', destination=self.destination())
        whole, removal = (
            retention.plan(self.other, [name], owner_is_gone=True)
            for name in ('wednesday', 'thursday'))
        self.assertEqual(3, len(whole.backups))
        self.assertEqual((), removal.problems)
        deleting.delete(self.other, removal.backups, self.timer)
        self.assertEqual(list(self.DAYS), self.days(self.other))
        self.assertEqual(9, len(self.b.rows))

    def test_what_another_set_needs(self) -> None:
        self.take('thursday')
        self.create('thursday')
        self.take('friday')
        self.create('friday', destination=self.destination())
        self.delete('friday', elsewhere=self.other)
        self.assertEqual('', self.find('thursday').registered)
        self.assert_nothing_is_left('thursday')


class BusyTest(TestCase):
    """What is being made, restored or compared stays, at either site."""

    def status(self, site: Any, day: str, status: str) -> dict[str, Any]:
        row: dict[str, Any] = site.rows[self.find(day, site).backups[0]['id']]
        row['status'] = status
        return row

    def proof(self, site: Any, day: str) -> None:
        row = site.rows[self.find(day, site).backups[0]['id']]
        site.rows['proof'] = {
            **row, 'id': 'proof',
            'data_timestamp': '2026-11-30T00:00:00.000000',
            'metadata': metadata.ours({marks.PROOF_OF: row['id']})}
        site.parents['proof'] = row['id']

    def test_what_the_other_site_restores_is_refused(self) -> None:
        self.status(self.b, 'wednesday', 'restoring')
        self.assert_refused(
            'wednesday', 'wednesday', elsewhere=self.other)
        self.assert_refused(
            'is needed at the other site', 'wednesday', elsewhere=self.other)

    def test_and_what_that_needs(self) -> None:
        self.status(self.b, 'wednesday', 'restoring')
        problems = ' '.join(self.removal(
            *self.DAYS, elsewhere=self.other).problems)
        for day in self.DAYS:
            self.assertIn(f'Backup set {day} ', problems)

    def test_what_it_compares_is_refused(self) -> None:
        self.proof(self.b, 'wednesday')
        self.assert_refused('proof, a proof, which', 'wednesday',
                            elsewhere=self.other)

    def test_what_is_compared_here_is_refused(self) -> None:
        self.proof(self.a, 'wednesday')
        self.assert_refused('proof, a proof, which', 'wednesday')

    def test_a_set_that_is_still_being_made_is_refused(self) -> None:
        self.status(self.a, 'wednesday', 'creating')
        self.assert_refused('status creating', 'wednesday')

    def test_retention_leaves_it_and_goes_on(self) -> None:
        for day in 'thursday', 'friday':
            self.take(day)
            self.create(day, full_every=1, destination=self.destination())
        # Of this set, the other volumes are to be restored later.
        self.status(self.b, 'monday', 'restoring')
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual((), removal.problems)
        warning, = removal.warnings
        self.assertIn('Backup set monday', warning)
        deleting.carry_out(removal, self.cloud, self.other, self.timer)
        self.assertEqual(['monday', 'friday'], self.days())
        for site in self.a, self.b:
            self.assertEqual(3, len(self.find('monday', site).backups))
        self.assertEqual(backup_sets.CONSISTENT,
                         self.find('monday', self.other).state)

    def test_what_is_restored_of_a_chain_keeps_it(self) -> None:
        self.take('thursday')
        self.create('thursday', full_every=1, destination=self.destination())
        self.status(self.a, 'tuesday', 'restoring')
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday', 'thursday'], self.days())


class RestoreTest(TestCase):
    """At B a set is restored, one volume after the other."""

    VALUES = {marks.RESTORE: 'nightly', marks.RESTORE_ID: 'r1',
              marks.VOLUMES: '3', marks.SERVERS: '2'}

    def restore(self, day: str, **values: str) -> None:
        """Mark the target volumes as those of a restore."""
        for source in self.SIZES:
            self.volume(source, {
                **self.VALUES, marks.SET_ID: self.find(day).id,
                **{key.lower(): value for key, value in values.items()}})

    def volume(self, source: str, values: dict[str, str],
               holder: str = 'r1') -> dict[str, Any]:
        id_ = f't-{source}'
        held = f';osc_quiesce:holder={holder}' if holder else ''
        self.b.volumes[id_] = {
            'id': id_, 'name': '', 'status': 'available', 'attachments': [],
            'description': f'{marks.target_description(source)}{held}'
                           f';volume_id={id_}',
            'metadata': metadata.ours({marks.VOLUME: id_, **values})}
        return self.b.volumes[id_]

    def assert_held(self, *days: str) -> None:
        """Check which sets cannot go now."""
        self.assertEqual(list(days), [
            day for day in self.DAYS if any(
                f'Backup set {day} ' in each and 'restore nightly (r1), which '
                'has volumes that were not restored' in each
                and '"openstack application restore delete r1" there deletes '
                'it' in each for each in
                self.removal(*self.DAYS, elsewhere=self.other).problems)])

    def test_what_is_not_restored_yet_is_refused(self) -> None:
        self.restore('monday', restored_at='x')
        self.volume('web-vda', {
            **self.VALUES, marks.SET_ID: self.find('monday').id})
        self.assert_held('monday')

    def test_and_what_it_needs(self) -> None:
        self.restore('tuesday')
        self.assert_held('monday', 'tuesday')

    def test_a_volume_that_is_not_begun_yet_counts(self) -> None:
        self.restore('monday', restored_at='x', verified='x',
                     restore_servers='0')
        self.assert_held()
        del self.b.volumes['t-web-vda']
        self.assert_held('monday')

    def test_one_without_servers_is_held_until_it_is_restored(self) -> None:
        self.restore('monday', restore_servers='0')
        self.assert_held('monday')
        self.restore('monday', restored_at='x', restore_servers='0')
        self.assert_held()

    def test_it_is_held_until_its_servers_are_made(self) -> None:
        self.restore('monday', restored_at='x', verified='x')
        self.assert_held('monday')
        self.restore('monday', restored_at='x', verified='x', started='x')
        self.assert_held()
        # Of what runs, a volume that is deleted later does not matter.
        del self.b.volumes['t-web-vda']
        self.assert_held()

    def test_one_whose_metadata_cinder_has_replaced_is_any(self) -> None:
        volume = self.volume('db-vda', {})
        volume['metadata'] = {'owner': 'db'}
        problems = self.removal('monday', elsewhere=self.other).problems
        self.assertIn('restore of unknown name (r1)', ' '.join(problems))

    def test_one_that_was_given_up_is_not_held(self) -> None:
        self.volume('db-vda', {marks.RESTORED_AT: 'x'}, holder='')
        self.assert_held()

    def test_nor_one_that_was_made_by_hand(self) -> None:
        self.volume('db-vda', {marks.RESTORE_ID: 'by-hand'}, holder='')
        self.assertEqual((), self.removal(
            *self.DAYS, elsewhere=self.other).problems)

    def test_a_restore_at_this_site_counts(self) -> None:
        self.restore('monday')
        self.a.volumes.update(self.b.volumes)
        self.b.volumes.clear()
        self.assert_refused('is needed at this site (restore nightly',
                            *self.DAYS)

    def test_retention_leaves_it_and_goes_on(self) -> None:
        for day in 'thursday', 'friday':
            self.take(day)
            self.create(day, full_every=1, destination=self.destination())
        self.restore('monday')
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        warning, = removal.warnings
        self.assertIn('restore nightly (r1)', warning)
        deleting.carry_out(removal, self.cloud, self.other, self.timer)
        for site in self.a, self.b:
            self.assertEqual(['monday', 'friday'], self.days(site))


class CephTest(TestCase):
    """With Ceph's driver, of wednesday one backup has failed."""

    def setUp(self) -> None:
        super().setUp()
        failed = self.find('wednesday').backups[0]
        self.failed = self.a.rows[failed['id']]
        self.failed.update(status='error',
                           fail_reason='[errno 17] RBD image already exists')
        self.store.discard(failed['id'])

    def test_it_is_not_deleted_while_others_of_the_volume_stay(self) -> None:
        problem, = self.removal('wednesday', elsewhere=self.other).problems
        for words in (self.failed['id'], 'db-vda', 'would destroy the first',
                      'together with all others of the volume'):
            self.assertIn(words, problem)

    def test_retention_leaves_it_and_goes_on(self) -> None:
        for day in 'thursday', 'friday':
            self.take(day)
            self.create(day, full_every=1, destination=self.destination())
        removal = self.removal(
            application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual((), removal.problems)
        warning, = removal.warnings
        self.assertIn(self.failed['id'], warning)
        deleting.carry_out(removal, self.cloud, self.other, self.timer)
        # Cinder counts it as one that has the differences to the others.
        self.assertEqual(4, len(list(self.a.backups(volume_id='db-vda'))))
        self.assertEqual(1, len(list(self.a.backups(volume_id='db-vdb'))))

    def test_it_goes_together_with_all_of_the_volume(self) -> None:
        self.delete(*self.DAYS, elsewhere=self.other)
        self.assertEqual([], self.days())

    def test_what_loses_its_data_with_it_is_not_sealed_then(self) -> None:
        removal = self.removal(*self.DAYS, elsewhere=self.other)
        self.clock.is_stopped = True
        with self.assertRaises(backup_base.Stopped):
            deleting.carry_out(removal, self.cloud, self.other, self.timer)
        for day in self.DAYS:
            self.assertNotEqual(backup_sets.CONSISTENT, self.find(day).state)


class LostTest(TestCase):
    """The database of A is an older one, which never knew wednesday."""

    def setUp(self) -> None:
        super().setUp()
        for each in self.find('wednesday').backups:
            del self.a.rows[each['id']], self.a.parents[each['id']]

    def test_what_has_only_the_differences_keeps_its_base(self) -> None:
        self.assert_refused(
            'of which this site lacks backups, has only the differences to a '
            'backup that would be deleted: first delete that set',
            'tuesday', elsewhere=self.other)

    def test_retention_keeps_it_as_well(self) -> None:
        self.clock.sleep(86400)
        self.take('thursday')
        self.create('thursday', full_every=1, destination=self.destination())
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday', 'thursday'], self.days())
        self.assertEqual(
            {backup_sets.CONSISTENT},
            {each.state for each in backup_sets.find_all(self.other)})
        self.assertEqual(12, len(self.store))

    def test_what_is_lost_in_part_counts(self) -> None:
        for each in self.find('tuesday').backups[1:]:
            del self.a.rows[each['id']], self.a.parents[each['id']]
        self.assert_refused(
            'Backup set tuesday', 'monday', elsewhere=self.other)
        self.assert_refused(
            'Backup set wednesday', 'tuesday', elsewhere=self.other)

    def test_it_can_be_deleted_first(self) -> None:
        self.delete('wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))

    def test_or_together_with_its_base(self) -> None:
        self.delete('tuesday', 'wednesday', elsewhere=self.other)
        self.assertEqual(['monday'], self.days())
        self.assertEqual(['monday'], self.days(self.other))


class ReadOnlyTest(TestCase):
    """B may only read what A has stored, as is recommended."""

    def setUp(self) -> None:
        super().setUp()
        self.b.reads_only = True

    def test_nothing_of_the_owner_is_lost(self) -> None:
        before = set(self.store)
        removal = retention.plan(
            self.other, ['wednesday'], owner_is_gone=True)
        with self.assertRaises(errors.ApplicationError) as caught:
            deleting.carry_out(removal, self.other, None, self.timer)
        said = str(caught.exception)
        for words in ('Read-only file system', 'may only read the store',
                      'volume backup set --state available'):
            self.assertIn(words, said)
        self.assertEqual(before, self.store)
        self.assertEqual(backup_sets.CONSISTENT, self.find('wednesday').state)
        # What was deleted in vain is not called consistent, until it is reset.
        self.assertEqual(backup_sets.INCOMPLETE,
                         self.find('wednesday', self.other).state)
        for backup in removal.backups:
            self.b.rows[backup['id']]['status'] = 'available'
        self.assertEqual(backup_sets.CONSISTENT,
                         self.find('wednesday', self.other).state)

    def test_without_it_the_data_would_be_gone(self) -> None:
        self.b.reads_only = False
        removal = retention.plan(
            self.other, ['wednesday'], owner_is_gone=True)
        deleting.carry_out(removal, self.other, None, self.timer)
        self.assertEqual(6, len(self.store))

    def test_what_the_owner_deletes_goes_there_as_well(self) -> None:
        self.delete('wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days(self.other))
        self.assertEqual(6, len(self.store))


class AtOnceTest(TestCase):
    """Two commands back up one application at the same time."""

    def test_two_sets_are_both_good_and_keep_what_they_need(self) -> None:
        self.take('thursday')
        self.take('friday')
        plans = [self.plan(day) for day in ('thursday', 'friday')]
        # The first has begun: what it makes can be no parent yet.
        for item in plans[0].items:
            self.a._post_backups('', {'backup': plans[0].body(item)}, {})
        self.create('friday')
        self.clock.sleep(60)
        self.create('thursday')
        for day in 'thursday', 'friday':
            self.assertEqual(backup_sets.CONSISTENT, self.find(day).state)
        parents = {self.a.parents[each['id']]
                   for day in ('thursday', 'friday')
                   for each in self.find(day).backups}
        self.assertEqual(
            {each['id'] for each in self.find('wednesday').backups}, parents)
        # What both need stays as long as either is there.
        self.assert_refused('friday has only', 'wednesday', 'thursday')
        self.assert_refused('thursday has only', 'wednesday', 'friday')
        self.delete('thursday', 'friday', 'wednesday', elsewhere=self.other)
        self.assertEqual(['monday', 'tuesday'], self.days())


class FailoverTest(TestCase):
    """The application runs at B now, and a set was made there."""

    def setUp(self) -> None:
        super().setUp()
        for backup in self.find('wednesday', self.other).backups:
            row = {
                **self.b.rows[backup['id']],
                'id': f'of-b-{backup["volume_id"]}',
                'data_timestamp': '2026-11-30T00:00:00.000000',
            }
            row['metadata'] = {
                **row['metadata'],
                **metadata.ours({
                    'backup_set': 'at-b',
                    'backup_set_id': 'at-b',
                    'owner': 'project-b',
                    'created_at': '2026-11-30T00:00:00Z',
                }),
            }
            self.b.rows[row['id']] = row
            self.b.parents[row['id']] = backup['id']

    def test_retention_deletes_nothing_here(self) -> None:
        self.assert_refused(
            'The newest backup set of application shop, at-b (at-b), was made '
            'at the other site',
            application='shop',
            keep_last=1,
            elsewhere=self.other,
        )

    def test_nor_does_a_name_delete_what_is_needed_there(self) -> None:
        self.assert_refused(
            'at-b (at-b), made at the other site, has only the differences',
            'wednesday', elsewhere=self.other)

    def test_after_the_way_home_a_set_of_there_can_be_deleted_there(
            self) -> None:
        # With it, all that it needs was kept for ever.
        for id_, row in self.b.rows.items():
            if id_.startswith('of-b'):
                row['metadata'].update(metadata.ours({'registered': 'A'}))
        self.clock.sleep(3 * 86400)
        self.take('back')
        self.create('back', full_every=1)
        removal = retention.plan(
            self.other, ['at-b'], elsewhere=self.cloud, to_cloud='A')
        self.assertEqual((), removal.problems)
        self.assertEqual(3, len(removal.backups))

    def test_nor_later_what_is_needed_there(self) -> None:
        self.clock.sleep(3 * 86400)
        self.take('back')
        self.create('back', full_every=1)
        problems = self.removal('wednesday', elsewhere=self.other).problems
        self.assertEqual(1, len(problems), problems)
        self.assertIn(
            'Backup set at-b (at-b), made at the other site, has only the '
            'differences',
            problems[0],
        )

    def test_retention_keeps_what_is_needed_there(self) -> None:
        self.clock.sleep(3 * 86400)
        self.take('back')
        self.create('back', full_every=1)
        self.delete(application='shop', keep_last=1, elsewhere=self.other)
        self.assertEqual([*self.DAYS, 'back'], self.days())

    def test_retention_is_refused_if_it_cannot_be_asked_for_that(
            self) -> None:
        # Of at-b, nothing is known here.
        self.clock.sleep(3 * 86400)
        self.take('back')
        self.create('back', full_every=1)
        problems = self.removal(
            application='shop', keep_last=1,
            other_site_is_gone=False).problems
        self.assertEqual(3, len(problems), problems)
        for day, problem in zip(self.DAYS, problems, strict=True):
            self.assertIn(f'Backup set {day} ', problem)
            self.assertIn('registered at B', problem)

    def test_nor_what_a_backup_of_somebody_there_needs(self) -> None:
        for row in self.b.rows.values():
            if row['id'].startswith('of-b'):
                row['metadata'] = {}
        problems = ' '.join(
            self.removal('wednesday', elsewhere=self.other).problems)
        self.assertIn('Backup of-b-db-vda, made at the other site, has only',
                      problems)

    def test_a_set_of_there_that_is_registered_here_is_enough(self) -> None:
        # Even if the other site cannot be asked.
        for id_, row in self.b.rows.items():
            if id_.startswith('of-b'):
                self.a.rows[id_] = {
                    **row, 'project_id': 'project-a',
                    'volume_id': row['volume_id'].removeprefix('t-')}
                self.a.parents[id_] = self.b.parents[id_]
        self.assert_refused('at-b has only the differences', 'monday')
        self.assertIn('was made at the other site', ' '.join(self.removal(
            application='shop', keep_last=1).problems))

    def test_what_is_only_there_is_never_taken_for_a_remainder(self) -> None:
        # Of the three backups of at-b, one is registered here.
        for id_, row in self.b.rows.items():
            if id_ == 'of-b-db-vda' or id_ == 'of-b-t-db-vda':
                self.a.rows[id_] = {
                    **row, 'project_id': 'project-a',
                    'volume_id': row['volume_id'].removeprefix('t-')}
                self.a.parents[id_] = self.b.parents[id_]
        removal = self.removal(
            'at-b', owner_is_gone=True, elsewhere=self.other)
        self.assertNotIn('of-b-web-vda', removal.rows)
        self.assertNotIn('of-b-t-web-vda', removal.rows)

    def test_clocks_that_are_apart_lose_nothing(self) -> None:
        # B's clock is a week behind: its set looks older than ours.
        for row in self.b.rows.values():
            if row['id'].startswith('of-b'):
                row['metadata'].update(
                    metadata.ours({'created_at': '2026-11-22T00:00:00Z'}))
        self.assert_refused(
            'Backup set at-b (at-b), made at the other site, has only',
            'wednesday', elsewhere=self.other)


class OneKeystoneTest(FailoverTest):
    """The same, at two sites where the project has the same ID."""

    def setUp(self) -> None:
        super().setUp()
        self.b.project_id = self.a.project_id
        for row in self.b.rows.values():
            row['project_id'] = self.a.project_id
            # The target volume of the source volume.
            target = f't-{row["volume_id"]}'
            row['volume_id'] = target
            row['metadata'].update(metadata.ours({
                'owner': self.a.project_id,
                **({'source_volume_id': target}
                   if row['id'].startswith('of-b') else {})}))

    def test_a_set_of_there_is_none_that_is_gone_here(self) -> None:
        with self.assertRaises(backup_sets.NoSuchSet):
            self.removal('at-b', elsewhere=self.other)

    def test_one_that_is_gone_here_is_deleted_there(self) -> None:
        self.clock.sleep(3 * 86400)
        self.take('back')
        self.create('back', full_every=1)
        for each in self.find('wednesday').backups:
            del self.a.rows[each['id']]
        removal = self.removal('wednesday', elsewhere=self.other)
        self.assertEqual(3, len(removal.rows))
