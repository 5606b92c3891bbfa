# SPDX-License-Identifier: Apache-2.0

"""Backup sets on two real sites: made, registered, resumed and deleted."""

from __future__ import annotations

from collections.abc import Iterator
import base64
import contextlib
import json
import pathlib
import signal
import subprocess
import tempfile
from typing import Any, ClassVar
import uuid

import yaml

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.application import metadata
from osc_quiesce.recovery import backup_sets
from osc_quiesce.recovery import capacity
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records
from osc_quiesce.tests.functional import proxy
from osc_quiesce.tests.recovery import base

A, B = base.A, base.B


class BackupTest(base.QuickTest):
    """Sets of one application, which the tests of a class share.

    Each test begins with no backups at either site.
    """

    application: ClassVar[base.Application | None] = None
    mapping: ClassVar[str] = ''

    def setUp(self) -> None:
        super().setUp()
        cls = type(self)
        if cls.application is None:
            cls.application = base.Application(self)
            folder = tempfile.mkdtemp(dir=base.root())
            cls.mapping = str(pathlib.Path(folder) / 'mapping.yaml')
        self.app: base.Application = cls.application
        self.name = f'set-{uuid.uuid4().hex[:8]}'
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=base.root()))
        self.addCleanup(self.remove_all)

    def remove_all(self) -> None:
        """Delete all snapshot sets, all backups at A, and their rows at B."""
        for each in self.json(A, 'application snapshot list'):
            self.openstack(A, f'application snapshot delete {each["ID"]}')
        for site in A, B:
            self.until(lambda site=site: self.remove_once(site),
                       f'no backup is left at {site}')

    @staticmethod
    def remove_once(site: str) -> bool:
        left = list(base.cloud(site).backups())
        for each in left:
            with contextlib.suppress(cloud_api.CloudError):
                base.cloud(site).volume('DELETE', f'/backups/{each["id"]}')
        return not left

    # Commands -------------------------------------------------------------

    def take(self, name: str) -> None:
        """Take a snapshot set of the application."""
        path = self.folder / 'application.yaml'
        path.write_text(json.dumps({
            'name': f'shop-{self.app.suffix}',
            'stages': [[self.app.name('db')], [self.app.name('web')]],
        }))
        self.openstack(
            A, f'application snapshot create {name} --file {path}'
        )

    def create(self, name: str, *options: str, site: str = A) -> Any:
        return self.json(
            site, f'application backup create {name} {" ".join(options)}'
        )

    def refused(self, command: str, site: str = A) -> str:
        """Return why a command is refused."""
        return self.openstack(site, command, expect=1).stderr

    def map(self, name: str) -> str:
        """Return the options for site B with target volumes."""
        if not pathlib.Path(self.mapping).exists():
            self.openstack(
                B,
                f'application mapping create {name} --from-cloud {A} '
                f'--output {self.mapping}',
            )
        return f'--to-cloud {B} --mapping {self.mapping}'

    def backups(self, site: str = A) -> list[dict[str, Any]]:
        return list(base.cloud(site).backups())

    def parent_of(self, backup_id: str, site: str = A) -> str | None:
        return records.parent_id(records.export(base.cloud(site), backup_id))

    def states(self, site: str) -> dict[str, str]:
        """Return the sets of a site, and their states."""
        return {
            each['Name']: each['Consistency']
            for each in self.json(site, 'application backup list')
        }


class TestSets(BackupTest):
    def test_full_then_incremental(self) -> None:
        first, second = f'{self.name}-1', f'{self.name}-2'
        self.take(first)
        made = self.create(first)
        self.assertEqual('consistent', made['consistency'])
        self.assertEqual('full', made['mode'])
        self.assertEqual(
            [('a', 1), ('b', 1), ('a', 1)],
            [(each['device'][-1], each['size']) for each in made['backups']],
        )
        self.app.write('db-vdb', base.MIB, base.MIB)
        self.take(second)
        plan = self.create(second, '--dry-run')
        self.assertEqual([], plan['refused'])
        self.assertEqual(
            {'incremental'}, {each['mode'] for each in plan['backups']}
        )
        made = self.create(second, '--delete-snapshots')
        self.assertEqual('incremental', made['mode'])
        self.assertEqual(plan['id'], made['id'])
        by_id = {each['id']: each for each in self.backups()}
        changed = {
            (each['server'].split('-')[0], each['device'][-1]):
                by_id[each['backup_id']]['object_count']
            for each in made['backups']
        }
        self.assertEqual(
            {('db', 'a'): 0, ('db', 'b'): 1, ('web', 'a'): 0}, changed
        )
        for each in made['backups']:
            parent = by_id[self.parent_of(each['backup_id']) or '']
            self.assertEqual(first, metadata.get(parent, 'backup_set'))
        self.assertEqual(
            [first],
            [s['Name'] for s in self.json(A, 'application snapshot list')],
        )
        # The same command again has nothing to do, even without snapshots.
        self.assertEqual(made, self.create(second, '--delete-snapshots'))
        full = self.create(first, '--full', '--name', f'{self.name}-3')
        self.assertEqual('full', full['mode'])

    def test_what_is_recorded_is_shown(self) -> None:
        self.take(self.name)
        taken = self.json(A, f'application snapshot show {self.name}')
        made = self.create(self.name)
        shown = self.json(A, f'application backup show {made["id"]}')
        self.assertEqual(made, shown)
        for server, before in zip(
            shown['servers'], taken['servers'], strict=True
        ):
            ids = {
                each['volume_id']: each['backup_id']
                for each in shown['backups']
            }
            for volume in server['volumes']:
                self.assertEqual(ids[volume['id']], volume.pop('backup_id'))
            for volume in before['volumes']:
                del volume['snapshot_id']
            self.assertEqual(before, server)
        text = self.openstack(A, f'application backup show {self.name}')
        self.assertIn(f'1. {self.app.name("db")} (', text.stdout)

    def test_names_may_have_any_character(self) -> None:
        name = f'büro-\U0001f600-{self.name}'
        self.take(f"'{name}'")
        made = self.create(f"'{name}'")
        self.assertEqual(name, made['name'])
        for each in self.backups():
            self.assertTrue(each['name'].isascii())

    def test_a_volume_that_has_grown_gets_a_full_backup(self) -> None:
        self.take(f'{self.name}-1')
        self.create(f'{self.name}-1')
        volume = self.app.volumes['web-vda']
        site = base.cloud(A)
        site.volume(
            'POST', f'/volumes/{volume}/action',
            {'os-extend': {'new_size': 2}}, '3.42')
        type(self).application = None  # of another size now
        self.until(
            lambda: site.volume('GET', f'/volumes/{volume}')['volume'][
                'size'] == 2,
            'the volume has grown',
        )
        self.take(f'{self.name}-2')
        made = self.create(f'{self.name}-2')
        self.assertEqual('mixed', made['mode'])
        self.assertEqual(
            ['full'],
            [e['mode'] for e in made['backups'] if e['volume_id'] == volume],
        )


class TestOtherSite(BackupTest):
    def test_sets_are_registered_with_target_volumes(self) -> None:
        first, second = f'{self.name}-1', f'{self.name}-2'
        self.take(first)
        options = self.map(first)
        # Made without the other site: so it is an ancestor that is missing.
        self.create(first)
        self.app.write('db-vdb', base.MIB, base.MIB)
        self.take(second)
        made = self.create(second, options)
        self.assertEqual(B, made['registered'])
        self.assertEqual({first, second}, set(self.states(B)))
        self.assertEqual('consistent', self.states(B)[second])
        there = self.json(B, f'application backup show {second}')
        self.assertEqual(made['servers'], there['servers'])
        for key in ('id', 'name', 'application', 'data_time', 'mode', 'owner',
                    'registered', 'consistency'):
            self.assertEqual(made[key], there[key], key)
        targets = {
            marks.target_of(each): each
            for each in base.cloud(B).pages(
                'block_storage', '/volumes/detail', 'volumes', '3.0')
        }
        for here, row in zip(made['backups'], there['backups'], strict=True):
            self.assertEqual(here['backup_id'], row['backup_id'])
            self.assertEqual(here['volume_id'], row['source_volume_id'])
            target = targets[here['volume_id']]
            self.assertEqual(target['id'], row['volume_id'])
            self.assertEqual(1, target['size'])
            self.assertEqual(
                self.parent_of(row['backup_id'], A),
                self.parent_of(row['backup_id'], B),
            )
        # Registered, so an incremental backup of the target goes on there.
        row = there['backups'][0]
        self.assertIsNotNone(self.parent_of(row['backup_id'], B))
        # and again: nothing is made, nothing is imported
        before = len(self.backups(B))
        self.assertEqual(made, self.create(second, options))
        self.assertEqual(before, len(self.backups(B)))

    def test_without_target_volumes(self) -> None:
        self.take(self.name)
        made = self.create(
            self.name, f'--to-cloud {B} --no-target-volumes'
        )
        there = self.json(B, f'application backup show {self.name}')
        self.assertEqual(made['backups'], there['backups'])
        self.assertEqual('consistent', there['consistency'])

    def test_a_bundle_is_imported_after_the_loss_of_the_site(self) -> None:
        self.take(f'{self.name}-1')
        options = self.map(f'{self.name}-1').split(maxsplit=2)[2]
        self.create(f'{self.name}-1')
        self.app.write('db-vdb', base.MIB, base.MIB)
        self.take(f'{self.name}-2')
        bundle = self.folder / 'bundle'
        made = self.create(f'{self.name}-2', f'--bundle {bundle}')
        exported = self.folder / 'exported'
        self.openstack(
            A, f'application backup export {made["id"]} --output {exported}'
        )
        self.assertEqual(self.content(bundle), self.content(exported))
        self.assertEqual(0o600, bundle.stat().st_mode & 0o777)
        with self.without('identity'), self.without('volume'):
            plan = self.json(
                B, f'application backup import {bundle} {options} --dry-run'
            )
            self.assertEqual(
                (6, 6, []),
                tuple(plan[key] for key in (
                    'records', 'records_missing', 'refused')),
            )
            self.assertEqual([], self.backups(B))
            there = self.json(
                B, f'application backup import {bundle} {options}'
            )
        self.assertEqual('consistent', there['consistency'])
        self.assertEqual(made['servers'], there['servers'])
        self.assertEqual(6, len(self.backups(B)))

    @staticmethod
    def content(bundle: pathlib.Path) -> Any:
        """Return what is in a bundle, but for times that Cinder changes.

        It counts the dependents of a backup when these are there already.
        """
        content = json.loads(bundle.read_text())
        content['records'] = [
            json.loads(base64.b64decode(each['backup_url'])) | {
                'updated_at': None, 'num_dependent_backups': None}
            for each in content['records']]
        return content

    @contextlib.contextmanager
    def without(self, role: str) -> Iterator[None]:
        site = base.minicloud_of(A)
        site.stop(role)
        try:
            yield
        finally:
            site.start(role)

    @staticmethod
    def no_service() -> bool:
        return not any((capacity.services(base.cloud(A)) or {}).values())

    def test_refusals_come_all_at_once(self) -> None:
        self.take(self.name)
        options = self.map(self.name)
        project = base.cloud(B).project_id
        quota = f'/os-quota-sets/{project}'
        site = base.minicloud_of(A)
        base.cloud(B).volume('PUT', quota, {'quota_set': {'backups': 2}})
        # Cinder 29 answers a request to disable one, and does not.
        site.stop('backup')
        try:
            self.until(self.no_service, 'cinder-backup is down')
            said = self.refused(
                f'application backup create {self.name} {options}')
        finally:
            base.cloud(B).volume('PUT', quota, {'quota_set': {'backups': -1}})
            site.start('backup')
            self.until(lambda: not self.no_service(), 'cinder-backup is up')
        self.assertIn('No cinder-backup service is up and enabled at this',
                      said)
        self.assertIn(
            'quota backups at siteB is too small: 3 needed, 2 of 2 left', said)
        self.assertIn('No backup was made.', said)
        self.assertEqual([], self.backups(A) + self.backups(B))

    def test_who_may_not_import_is_told(self) -> None:
        self.take(self.name)
        said = self.refused(
            f'application backup create {self.name} --to-cloud {B}-member '
            '--no-target-volumes'
        )
        self.assertIn(f'You may not import backups at {B}-member', said)

    def test_the_same_site_is_no_other_one(self) -> None:
        self.take(self.name)
        said = self.refused(
            f'application backup create {self.name} --to-cloud {A} '
            '--no-target-volumes'
        )
        self.assertIn(f'Cloud {A} is this site', said)


class TestTrouble(BackupTest):
    def begin(self, *options: str) -> subprocess.Popen[str]:
        """Begin a command in a process of its own."""
        done = subprocess.Popen(
            ['openstack', '--os-cloud', A, 'application', 'backup', 'create',
             self.name, *options],
            env=base.environment(),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        self.addCleanup(done.kill)
        return done

    def has(self, status: str, number: int = 1) -> Any:
        return lambda: sum(
            each['status'] == status for each in self.backups()
        ) >= number

    def assert_made(self) -> None:
        """Check that the set is whole, and nothing is there twice."""
        self.assertEqual({self.name: 'consistent'}, self.states(A))
        self.assertEqual(3, len(self.backups()))

    def test_an_interrupted_command_says_what_goes_on(self) -> None:
        self.take(self.name)
        command = self.begin('--parallel', '1')
        self.until(self.has('creating'), 'a backup is begun')
        command.send_signal(signal.SIGINT)
        _out, said = command.communicate(timeout=base.PATIENCE)
        self.assertEqual(-signal.SIGINT, command.returncode, said)
        self.assertIn('the same command again continues', said)
        self.create(self.name)
        self.assert_made()

    def test_a_request_without_an_answer_is_not_repeated(self) -> None:
        self.take(self.name)
        with self.between() as between:
            between.on('backup', proxy.forward_and_drop,
                       proxy.forward_and_refuse(502))
            self.openstack('lossy', f'application backup create {self.name}')
        self.assertEqual(3, len(between.requests('backup')))
        self.assert_made()

    def test_a_request_that_never_arrived_is_repeated(self) -> None:
        self.take(self.name)
        with self.between() as between:
            between.on('backup', proxy.drop)
            self.openstack('lossy', f'application backup create {self.name}')
        self.assertEqual(4, len(between.requests('backup')))
        self.assert_made()

    @contextlib.contextmanager
    def between(self) -> Iterator[proxy.Proxy]:
        """Let cloud "lossy" be site A with a proxy before its Cinder."""
        path = base.root() / 'clouds.yaml'
        before = path.read_text()
        with proxy.Proxy(base.cloud(A).volume_url) as made:
            clouds = yaml.safe_load(before)
            clouds['clouds']['lossy'] = {
                **clouds['clouds'][A],
                'block_storage_endpoint_override': made.url,
            }
            path.write_text(yaml.safe_dump(clouds))
            try:
                yield made
            finally:
                path.write_text(before)


class TestDelete(BackupTest):
    """Three sets, of which the second and third are incremental."""

    def setUp(self) -> None:
        super().setUp()
        self.names = [f'{self.name}-{number}' for number in range(1, 4)]
        for name in self.names:
            self.app.write('db-vdb', base.MIB, base.MIB)
            self.take(name)
            self.create(name, f'--to-cloud {B} --no-target-volumes')

    def delete(self, arguments: str, site: str = A) -> None:
        self.openstack(site, f'application backup delete {arguments}')

    def test_only_the_owner_deletes(self) -> None:
        newest = self.names[-1]
        said = self.refused(f'application backup delete {newest}', B)
        self.assertIn('was made at another site', said)
        self.assertEqual(9, len(self.backups(B)))
        self.delete(f'{newest} --to-cloud {B}')
        for site in A, B:
            self.assertEqual(set(self.names[:2]), set(self.states(site)))

    def test_what_others_need_stays(self) -> None:
        said = self.refused(
            f'application backup delete {self.names[0]} --to-cloud {B}')
        self.assertIn(
            f'{self.names[1]} has only the differences', said)
        self.assertIn('Nothing was deleted.', said)
        self.assertEqual(9, len(self.backups()))

    def test_nothing_goes_until_the_other_site_is_named(self) -> None:
        said = self.refused(
            f'application backup delete --application shop-{self.app.suffix} '
            '--keep-last 1')
        self.assertIn(f'may be registered at {B}', said)
        self.assertIn('Nothing was deleted.', said)
        self.assertEqual(9, len(self.backups()))

    def test_whole_chains_go_newest_first(self) -> None:
        self.delete(f'{" ".join(self.names)} --other-site-is-gone')
        self.assertEqual([], self.backups())
        # What only the other site knows goes as well, once it is named.
        self.assertEqual(9, len(self.backups(B)))
        self.delete(f'{" ".join(self.names)} --to-cloud {B}')
        self.assertEqual([], self.backups(B))

    def test_the_last_ones_are_kept_with_what_they_need(self) -> None:
        self.delete(f'--application shop-{self.app.suffix} --keep-last 1 '
                    f'--to-cloud {B}')
        self.assertEqual(3, len(self.states(A)))
        self.take(f'{self.name}-4')
        self.create(f'{self.name}-4', '--full', f'--to-cloud {B}',
                    '--no-target-volumes')
        names = ' '.join(self.names)
        listed = self.openstack(
            A, f'application backup delete {names} {self.name}-4 '
            f'--keep-last 1 --to-cloud {B} --dry-run')
        self.assertEqual(9, len(listed.stdout.splitlines()))
        self.delete(f'{names} {self.name}-4 --keep-last 1 --to-cloud {B}')
        self.assertEqual({f'{self.name}-4': 'consistent'}, self.states(A))

    def test_they_go_at_the_other_site_once_the_owner_is_gone(self) -> None:
        self.delete(f'{self.names[-1]} --owner-is-gone', B)
        self.assertEqual(set(self.names[:2]), set(self.states(B)))


class TestFailover(BackupTest):
    """The application is made at site B, and backed up there."""

    def test_its_newer_set_keeps_the_old_ones(self) -> None:
        self.take(self.name)
        self.create(self.name, self.map(self.name))
        backup = next(
            each for each in self.backups(B)
            if each['status'] == 'available'
        )
        made = base.cloud(B).volume('POST', '/backups', {'backup': {
            'volume_id': backup['volume_id'],
            'incremental': True,
            'name': 'of-b',
            'metadata': {
                **backup['metadata'],
                **metadata.ours({
                    backup_sets.NAME: 'of-b',
                    backup_sets.ID: 'of-b',
                    backup_sets.OWNER: base.cloud(B).project_id or '',
                    'created_at': '2100-01-01T00:00:00Z',
                }),
            },
        }}, cloud_api.BACKUP_MICROVERSION)['backup']['id']
        self.wait(B, 'backup', made)
        self.assertEqual(backup['id'], self.parent_of(made, B))
        said = self.refused(
            f'application backup delete {self.name} --to-cloud {B}')
        self.assertIn('made at the other site, has only the differences to a '
                      'backup that', said)
        self.assertEqual(3, len(self.backups(A)))
