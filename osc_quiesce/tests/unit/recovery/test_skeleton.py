# SPDX-License-Identifier: Apache-2.0

"""A mapping to begin with: the same names, and gaps that are refused."""

from __future__ import annotations

from osc_quiesce.recovery import mapping as mappings
from osc_quiesce.recovery import resolving
from osc_quiesce.recovery import site as sites
from osc_quiesce.recovery import skeleton
from osc_quiesce.tests.unit.recovery import restore_base


class TestSkeleton(restore_base.TestCase):
    def make(self) -> skeleton.Skeleton:
        return skeleton.make(sites.Site(self.cloud), self.servers, 'of\nshop')

    def refusals(self, text: str) -> list[str]:
        return resolving.resolve(
            sites.Site(self.cloud),
            mappings.from_yaml(text, 'm.yaml'),
            self.servers,
            'shop',
        ).refusals

    def test_the_same_names_are_filled_in(self) -> None:
        made = self.make()
        self.assertEqual(
            ('flavors.m1.small', 'networks.a-net', 'volume_types.rbd'),
            made.empty,
        )
        self.assertEqual(4, made.filled)
        self.assertIn('\nzones:  # none: leave it out\n  nova: nova\n',
                      made.text)

    def test_gaps_have_a_comment_of_what_fits(self) -> None:
        self.servers[0]['flavor'].update(ram=4096)
        text = self.make().text
        self.assertIn(
            '\n  m1.small:  # m1.small (1 vCPU, 4096 MiB); fits: big\n', text)
        self.assertIn('\n    network:  # fits: b-net, other\n', text)

    def test_gaps_are_refused_until_they_are_filled(self) -> None:
        text = self.make().text
        refused = ' '.join(self.refusals(text))
        for gap in 'flavors.m1.small', 'networks.a-net', 'volume_types.rbd':
            self.assertIn(f'({gap}) is empty', refused)
        for gap, value in (
            ('m1.small:', 'm1.small: small'),
            ('network:', 'network: b-net'),
            ('rbd:', 'rbd: ceph'),
        ):
            text = text.replace(gap, value)
        self.assertEqual([], self.refusals(text))

    def test_names_need_not_be_plain(self) -> None:
        name = 'no: "plain" \N{ROCKET} name'
        self.servers[0]['key_name'] = name
        self.site.lists['keypairs'].append({'keypair': {'name': name}})
        mapping = mappings.from_yaml(self.make().text, 'm.yaml')
        entry = mapping.entry('keypairs', name)
        assert entry
        self.assertEqual(name, entry.value)

    def test_images_of_image_metadata_are_the_same_by_their_id(self) -> None:
        self.servers[0]['volumes'][0]['image_metadata'].update(
            kernel_id='k1', ramdisk_id='cirros')
        self.site.lists['images'] += [
            {'id': 'k1', 'name': 'kernel', 'container_format': 'aki'},
            {'id': 'r1', 'name': 'ramdisk', 'container_format': 'ari'},
        ]
        made = self.make()
        self.assertIn('\nimages:\n  k1: k1\n', made.text)
        self.assertIn('images.cirros', made.empty)
        self.assertIn(
            '  cirros:  # ramdisk_id of server db; fits: kernel, ramdisk\n',
            made.text,
        )

    def test_of_two_with_the_same_name_none_is_chosen(self) -> None:
        self.site.lists['security_groups'].append({'id': 'x', 'name': 'web'})
        self.assertIn('security_groups.web', self.make().empty)
