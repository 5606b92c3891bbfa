# SPDX-License-Identifier: Apache-2.0

"""A cloud is of one release, that of the installed packages."""

import unittest
from unittest import mock

from minicloud import packages
from minicloud import releases
from minicloud.errors import MinicloudError

EPOXY = dict(zip(packages.SERVICES, (
    '27.1.0', '13.0.1', '30.2.0', '31.3.1', '26.3.0')))


class ReleaseTest(unittest.TestCase):

    def installed(self, **versions: str) -> None:
        """Pretend that these versions are installed."""
        patch = mock.patch.object(
            packages, 'versions', return_value={**EPOXY, **versions})
        patch.start()
        self.addCleanup(patch.stop)

    def test_it_is_known_by_the_services(self) -> None:
        self.installed()
        self.assertEqual('2025.1', releases.installed())
        self.assertEqual('2025.1', releases.check(None))
        self.assertEqual('2025.1', releases.check('2025.1'))

    def test_another_one_is_refused_with_advice(self) -> None:
        self.installed()
        with self.assertRaisesRegex(
                MinicloudError, 'installed is OpenStack 2025.1, not 2026.1.*'
                'constraints/2026.1.txt'):
            releases.check('2026.1')

    def test_a_neutron_of_another_one_is_refused(self) -> None:
        def versions(names: tuple[str, ...] = packages.SERVICES,
                     ) -> dict[str, str]:
            return {name: {**EPOXY, 'neutron': neutron}[name]
                    for name in names}

        with mock.patch.object(packages, 'versions', versions):
            neutron = '26.0.6'
            self.assertEqual('2025.1', releases.check(None, 'neutron'))
            neutron = '27.0.4'
            self.assertEqual('2025.1', releases.check(None, 'none'))
            with self.assertRaisesRegex(
                    MinicloudError, 'neutron 27.0.4 is not of OpenStack '
                    '2025.1.*constraints/2025.1.txt'):
                releases.check(None, 'neutron')

    def test_services_of_several_releases_are_refused(self) -> None:
        self.installed(nova='34.0.0')
        with self.assertRaisesRegex(
                MinicloudError, 'of no one release.*keystone 27.*nova 34'):
            releases.check(None)
