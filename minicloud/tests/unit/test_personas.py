# SPDX-License-Identifier: Apache-2.0

"""Who the personas are, for programs and for shells."""

import shlex
import unittest

import yaml

from minicloud import network
from minicloud import personas


class PersonasTest(unittest.TestCase):

    def test_the_shell_gets_what_programs_get(self) -> None:
        for persona in personas.PERSONAS.values():
            text = personas.openrc(persona, 5000)
            words = [word.partition('=') for word in
                     shlex.split(text, comments=True) if word != 'export']
            self.assertEqual(personas.environment(persona, 5000),
                             {name: value for name, _, value in words})

    def test_clouds_yaml_says_the_same(self) -> None:
        entries = personas.clouds('site', 5000)
        self.assertEqual({'clouds': entries},
                         yaml.safe_load(personas.clouds_yaml(entries)))
        for persona in personas.PERSONAS.values():
            suffix = '' if persona.name == 'admin' else f'-{persona.name}'
            entry = dict(entries[f'site{suffix}'])
            entry.update(entry.pop('auth'))    # type: ignore[call-overload]
            self.assertEqual(
                personas.environment(persona, 5000),
                {f'OS_{name.upper()}': value
                 for name, value in entry.items()})

    def test_member_and_reader_share_a_project_that_other_is_not_in(self,
                                                                    ) -> None:
        who = personas.PERSONAS
        self.assertEqual(who['member'].project, who['reader'].project)
        self.assertNotEqual(who['member'].project, who['other'].project)

    def test_only_admin_is_admin(self) -> None:
        self.assertEqual(['admin'], [
            persona.name for persona in personas.PERSONAS.values()
            if persona.role == 'admin'])


class NetworkStubTest(unittest.TestCase):

    def test_there_is_nothing_of_any_kind(self) -> None:
        self.assertEqual(
            ('200 OK', {'security_groups': []}),
            network.answer('GET', '/v2.0/security-groups', 'http://x'))

    def test_nothing_can_be_made(self) -> None:
        status, _ = network.answer('POST', '/v2.0/ports', 'http://x')
        self.assertEqual('501 Not Implemented', status)
