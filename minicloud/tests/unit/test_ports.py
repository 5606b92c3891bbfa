# SPDX-License-Identifier: Apache-2.0

"""Ports are free, kept, and never somebody else's."""

import json
import pathlib
import tempfile
import unittest

from minicloud import ports


class ReservationTest(unittest.TestCase):

    def reservation(self, saved: dict[str, int] | None = None,
                    ) -> ports.Reservation:
        made = ports.Reservation(saved)
        self.addCleanup(made.release)
        return made

    def test_each_service_has_a_port_of_its_own(self) -> None:
        made = self.reservation()
        made.reserve(ports.NAMES)
        self.assertEqual(set(ports.NAMES), set(made.ports))
        self.assertEqual(len(ports.NAMES), len(set(made.ports.values())))

    def test_a_port_that_is_still_free_is_used_again(self) -> None:
        first = self.reservation()
        first.reserve(['image'])
        first.release()
        second = self.reservation(first.ports)
        second.reserve(['image'])
        self.assertEqual(first.ports, second.ports)

    def test_a_port_taken_meanwhile_is_given_up(self) -> None:
        first = self.reservation()
        first.reserve(['image'])
        second = self.reservation(first.ports)
        second.reserve(['image'])
        self.assertNotEqual(first.ports['image'], second.ports['image'])

    def test_a_reserved_port_cannot_be_taken(self) -> None:
        made = self.reservation()
        made.reserve(['image'])
        self.assertIsNone(ports.bind(made.ports['image']))

    def test_released_ports_are_free_and_the_others_are_held(self) -> None:
        made = self.reservation()
        made.reserve(['image', 'volume'])
        made.release(['image'])
        again = ports.bind(made.ports['image'])
        assert again is not None
        again.close()
        self.assertIsNone(ports.bind(made.ports['volume']))

    def test_what_is_not_asked_for_keeps_its_port(self) -> None:
        made = self.reservation({'image': 4711})
        made.reserve(['volume'])
        self.assertEqual(4711, made.ports['image'])
        self.assertNotIn('image', made.sockets)


class LoadTest(unittest.TestCase):

    def load(self, text: str) -> dict[str, int]:
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, 'ports.json')
            path.write_text(text)
            return ports.load(path)

    def test_saved_ports_are_loaded(self) -> None:
        saved = {name: 20000 + i for i, name in enumerate(ports.NAMES)}
        self.assertEqual(saved, self.load(json.dumps(saved)))

    def test_ports_that_not_every_cloud_has_may_be_missing(self) -> None:
        saved = {name: 20000 + i for i, name in enumerate(ports.NAMES)
                 if name not in ports.OPTIONAL}
        self.assertEqual(saved, self.load(json.dumps(saved)))

    def test_a_damaged_file_counts_as_none(self) -> None:
        twice = dict.fromkeys(ports.NAMES, 20000)
        for text in ('', '{', '[]', '{"image": 1}', json.dumps(twice)):
            self.assertEqual({}, self.load(text))

    def test_no_file_counts_as_none(self) -> None:
        self.assertEqual({}, ports.load(pathlib.Path('/nowhere/ports')))
