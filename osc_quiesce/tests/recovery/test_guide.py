# SPDX-License-Identifier: Apache-2.0

"""The guide to disaster recovery is followed, and the one without commands.

The commands of the pages are run in this order, in a directory with the
samples of the documentation. A line that begins with "$" is a command.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile
from typing import Any

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.recovery import marks
from osc_quiesce.tests.recovery import base
from osc_quiesce.tests.unit import test_timers

A, B = base.A, base.B
DOCS = pathlib.Path(__file__).parents[3] / 'doc/source'


def sections(page: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the titles of a page, with the commands below each."""
    text = (DOCS / page).read_text()
    parts = re.split(r'^(\S.*)\n([=]{4,})$', text, flags=re.MULTILINE)
    for title, body in zip(parts[1::3], parts[3::3], strict=True):
        yield title, re.findall(r'^ +\$ (.*)$', body, re.MULTILINE)


class Shop(base.Application):
    """The application of the guides."""

    PARTS = (('db', ('vda',)), ('app', ('vda',)), ('web', ('vda',)))

    def name(self, server: str) -> str:
        return server


class TestGuide(base.RecoveryTest):
    def setUp(self) -> None:
        super().setUp()
        self.folder = pathlib.Path(tempfile.mkdtemp(dir=base.root()))
        for sample in (DOCS / 'samples').iterdir():
            shutil.copy(sample, self.folder)
        (self.folder / 'mapping.yaml').unlink()  # it is to be written
        self.addCleanup(self.remove_all)
        self.shop = Shop(self)
        self.variables = ''

    def remove_all(self) -> None:
        """Delete servers, restores, sets, backups and target volumes."""
        for site in A, B:
            cloud = base.cloud(site)
            for each in cloud.compute('GET', '/servers')['servers']:
                if each['name'] in dict(Shop.PARTS):
                    cloud.compute('DELETE', f'/servers/{each["id"]}')
            self.until(
                lambda cloud=cloud: not {
                    each['name']
                    for each in cloud.compute('GET', '/servers')['servers']
                } & set(dict(Shop.PARTS)),
                f'no server is left at {site}')
            for kind in 'restore', 'snapshot':
                for each in self.json(site, f'application {kind} list'):
                    self.openstack(
                        site, f'application {kind} delete {each["ID"]}')
            self.until(
                lambda cloud=cloud: self.remove_once(cloud),
                f'no backup is left at {site}')
            for each in cloud.volume('GET', '/volumes/detail')['volumes']:
                if marks.target_of(each):  # the next test has others
                    cloud.volume('DELETE', f'/volumes/{each["id"]}')

    @staticmethod
    def remove_once(cloud: cloud_api.Cloud) -> bool:
        left = list(cloud.backups())
        for each in left:
            with contextlib.suppress(cloud_api.CloudError):
                cloud.volume('DELETE', f'/backups/{each["id"]}')
        return not left

    def follow(self, command: str) -> str:
        """Run a command of a guide, and return what it prints."""
        done = subprocess.run(
            ['bash', '-c', command], cwd=self.folder, env=base.environment(),
            capture_output=True, text=True, timeout=2 * base.PATIENCE)
        self.assertEqual(
            0, done.returncode, f'{command}\n{done.stdout}\n{done.stderr}')
        return done.stdout

    def states(self, site: str, kind: str = 'backup') -> dict[str, str]:
        state = {'backup': 'Consistency', 'restore': 'Status'}[kind]
        return {
            each['Name']: each[state]
            for each in self.json(site, f'application {kind} list')
        }

    def names(self, site: str) -> dict[str, Any]:
        """Return the servers of a site, and their statuses."""
        found = base.cloud(site).compute('GET', '/servers/detail')['servers']
        return {
            each['name']: each['status'] for each in found
            if each['name'] in dict(Shop.PARTS)
        }

    def test_disaster_recovery(self) -> None:
        site = base.minicloud_of(A)
        for title, commands in sections('user/disaster-recovery.rst'):
            if title == 'When it happens':
                self.assertEqual(
                    dict.fromkeys(('first', 'shop-1', 'shop-2'), 'consistent'),
                    self.states(B))
                before = self.data(A, self.shop.volumes)
                site.down()
            elif title == 'Afterwards':
                self.assertEqual(before, self.data(B, self.targets()))
                site.up()
                base.write(B, self.targets()['db-vda'], 2 * base.MIB, b'new')
                self.assertEqual(
                    dict.fromkeys(dict(Shop.PARTS), 'ACTIVE'), self.names(B))
                self.assertEqual('complete', self.states(B, 'restore')[
                    'shop-2'])
            for command in commands:
                self.follow(command)
                if command.startswith('sh nightly.sh shop-1'):
                    self.shop.write('db-vda', 9 * base.MIB, base.MIB)
        self.assertEqual('complete', self.states(A, 'restore')['back'])
        self.assertEqual(
            dict.fromkeys(dict(Shop.PARTS), 'ACTIVE'), self.names(A))
        after = self.data(A, self.shop.volumes)
        self.assertNotEqual(before, after)
        self.assertEqual(self.data(B, self.targets()), after)
        self.assertNotIn('shop-2', self.states(B, 'restore'))

    def by_hand(self, command: str) -> None:
        """Follow a command; the fake hypervisor calls disks otherwise.

        Each has a shell of its own, so a variable is set for all that follow.
        """
        command = re.sub(r'(shop(-\d_\d)?_[a-z]+)_vd', r'\1_sd', command)
        self.follow(self.variables + command)
        if re.match(r'\w+=\$\(', command):
            self.variables += f'{command}\n'

    def test_without_these_commands(self) -> None:
        self.prepare('shop-2')
        for title, commands in sections('user/by-hand.rst'):
            if title.startswith('Restore'):
                for command in commands:
                    self.by_hand(command)
                self.assertEqual('ACTIVE', self.names(B)['db'])
                self.assertEqual(
                    self.data(A, self.shop.volumes)['db-vda'],
                    self.data(B, self.targets())['db-vda'])
            elif title.startswith('Register'):
                self.take('shop-3')
                self.openstack(A, 'application backup create shop-3')
                for command in commands:
                    self.by_hand(command)
                self.assertEqual('incomplete', self.states(B)['shop-3'])

    def test_timers_and_cron(self) -> None:
        self.prepare('first')
        for number, nightly in enumerate((
                test_timers.of_systemd('nightly'), test_timers.of_cron()[0])):
            self.follow(test_timers.localized(nightly, self.folder))
            states = self.states(B)
            self.assertEqual(number + 2, len(states))
            self.assertEqual({'consistent'}, set(states.values()))
        alarms = test_timers.of_systemd('protection'), test_timers.of_cron()[1]
        for alarm in alarms:
            self.follow(test_timers.localized(alarm, self.folder))
        self.assertIn('protection_sets{application="shop"} 3.0',
                      (self.folder / 'shop.prom').read_text())
        self.until(lambda: self.remove_once(base.cloud(B)),
                   f'no backup is left at {B}')
        for alarm in alarms:
            with self.assertRaisesRegex(AssertionError, 'no backup set'):
                self.follow(test_timers.localized(alarm, self.folder))

    def prepare(self, name: str) -> None:
        """Register a backup set with target volumes."""
        self.take(name)
        self.follow(
            f'openstack --os-cloud {B} application mapping create {name} '
            f'--from-cloud {A} --output mapping.yaml')
        self.follow(
            f'openstack --os-cloud {A} application backup create {name} '
            f'--to-cloud {B} --mapping mapping.yaml')

    def take(self, name: str) -> None:
        self.follow(
            f'openstack --os-cloud {A} application snapshot create {name} '
            '--file shop.yaml')

    def targets(self) -> dict[str, str]:
        """Return the target volumes at site B, by ``db-vda`` and so on."""
        labels = {id_: label for label, id_ in self.shop.volumes.items()}
        return {
            labels[source]: each['id']
            for each in base.cloud(B).volume('GET', '/volumes/detail')[
                'volumes']
            if (source := marks.target_of(each)) in labels
        }

    @staticmethod
    def data(site: str, volumes: dict[str, str]) -> dict[str, str]:
        """Return what is in volumes, as checksums."""
        return {
            label: hashlib.sha256(base.data_of(site, id_)).hexdigest()
            for label, id_ in volumes.items()
        }
