# SPDX-License-Identifier: Apache-2.0

"""Full or incremental, and what depends on what."""

from __future__ import annotations

from typing import Any
import unittest

from osc_quiesce.application import metadata
from osc_quiesce.recovery import chains
from osc_quiesce.recovery import marks
from osc_quiesce.recovery import records

VOLUME = {'id': 'v', 'size': 1}


def backup(
    minute: int, incremental: bool = True, **more: Any
) -> dict[str, Any]:
    return {
        'id': f'b{minute}',
        'volume_id': 'v',
        'status': 'available',
        'size': 1,
        'object_count': 1,
        'is_incremental': incremental,
        'created_at': f'2026-11-29T23:{minute:02}:00.000000',
        'data_timestamp': f'2026-11-29T10:{minute:02}:00.000000',
        'metadata': {},
        **more,
    }


def snapshot(minute: int) -> dict[str, str]:
    return {'id': 's', 'created_at': f'2026-11-29T10:{minute:02}:00.000000'}


class ChooseTest(unittest.TestCase):
    def choose(self, *backups: Any, **more: Any) -> chains.Choice:
        return chains.choose(snapshot(30), VOLUME, backups, **more)

    def test_without_an_earlier_one_it_is_full(self) -> None:
        self.assertEqual(chains.FULL, self.choose().mode)

    def test_the_newest_earlier_one_is_the_parent(self) -> None:
        made = self.choose(backup(1, False), backup(3), backup(2), backup(40))
        self.assertEqual(
            (chains.INCREMENTAL, 'b3'), (made.mode, made.parent_id)
        )

    def test_later_ones_and_those_that_are_not_there_are_no_parents(
        self,
    ) -> None:
        for status in ('error', 'creating', 'restoring'):
            with self.subTest(status):
                made = self.choose(
                    backup(40), backup(1, False, status=status)
                )
                self.assertEqual(chains.FULL, made.mode)

    def test_no_difference_is_taken_past_a_later_full_one(self) -> None:
        # It would look like the parent later, and the real one could go.
        for later in (
            backup(3, False, status='creating'),
            backup(3, False, status='restoring'),
            backup(3, False, status='error', metadata=metadata.ours(
                {marks.HIDDEN_BY: 'x'})),
            # Of the same snapshot as the parent, in a set of another name.
            backup(2, False, id='x', status='restoring'),
        ):
            with self.subTest(later['status']):
                made = self.choose(backup(1, False), backup(2), later)
                self.assertEqual(chains.FULL, made.mode)
        for later in (
            backup(3, False, status='error'), backup(3, status='restoring'),
            backup(40, False, status='restoring'),
        ):
            with self.subTest(later):
                made = self.choose(backup(1, False), backup(2), later)
                self.assertEqual('b2', made.parent_id)

    def test_a_volume_that_has_grown_gets_a_full_one(self) -> None:
        made = self.choose(backup(1, False, size=2))
        self.assertEqual(chains.FULL, made.mode)
        self.assertIn('from 2 to 1 GiB', made.why)

    def test_a_chain_has_a_longest_length(self) -> None:
        backups = [backup(1, False), *(backup(n) for n in range(2, 7))]
        self.assertEqual(chains.INCREMENTAL, self.choose(*backups).mode)
        made = self.choose(*backups, backup(7))
        self.assertEqual(chains.FULL, made.mode)
        self.assertIn('7 backups', made.why)
        self.assertEqual(
            chains.FULL, self.choose(*backups, full_every=6).mode
        )

    def test_the_length_is_counted_from_the_last_full_one(self) -> None:
        backups = [backup(n) for n in range(1, 8)] + [backup(9, False)]
        made = self.choose(*backups)
        self.assertEqual(
            (chains.INCREMENTAL, 'b9'), (made.mode, made.parent_id)
        )

    def test_a_full_one_may_be_asked_for(self) -> None:
        made = self.choose(backup(1, False), full_every=1)
        self.assertEqual((chains.FULL, None), (made.mode, made.parent_id))

    def test_times_with_and_without_a_zone_are_compared(self) -> None:
        made = self.choose(
            backup(1, False, data_timestamp='2026-11-29T10:01:00+00:00'),
            backup(2),
        )
        self.assertEqual('b2', made.parent_id)


class NeededTest(unittest.TestCase):
    def test_an_incremental_one_needs_all_back_to_the_full_one(self) -> None:
        backups = [backup(1, False), backup(2), backup(3, False), backup(4),
                   backup(5)]
        self.assertEqual(
            {'b3', 'b4'}, chains.needed([backups[3]], backups)
        )
        self.assertEqual({'b1'}, chains.needed([backups[0]], backups))

    def test_one_that_failed_is_needed_by_none(self) -> None:
        backups = [backup(1, False), backup(2, status='error'), backup(3)]
        self.assertEqual(
            {'b1', 'b3'}, chains.needed([backups[2]], backups)
        )

    def test_one_that_a_proof_hides_is_needed(self) -> None:
        hidden = backup(
            2, status='error', metadata=metadata.ours({marks.HIDDEN_BY: 'x'})
        )
        backups = [backup(1, False), hidden, backup(3)]
        self.assertEqual(
            {'b1', 'b2', 'b3'}, chains.needed([backups[2]], backups)
        )

    def test_a_full_one_that_was_made_later_is_no_parent(self) -> None:
        # Of the second snapshot, when the third one was backed up already.
        backups = [backup(1, False), backup(3), backup(5), backup(
            2, False, created_at='2026-11-29T23:04:00.000000')]
        for kept in backups[1:3]:
            self.assertIn('b1', chains.needed([kept], backups))
        self.assertEqual({'b2'}, chains.needed([backups[3]], backups))

    def test_other_volumes_do_not_matter(self) -> None:
        backups = [backup(1, False, volume_id='w'), backup(2)]
        self.assertEqual({'b2'}, chains.needed([backups[1]], backups))


class AncestorsTest(unittest.TestCase):
    def read(self, backup_id: str) -> records.Record:
        parents = {'c': 'b', 'b': 'a', 'a': None}
        return records.Record(
            'x', {'id': backup_id, 'parent_id': parents[backup_id]}
        )

    def test_the_oldest_comes_first(self) -> None:
        self.assertEqual(
            ['a', 'b', 'c'],
            [each.id for each in chains.ancestors('c', self.read)],
        )

    def test_a_circle_has_an_end(self) -> None:
        found = chains.ancestors(
            'a', lambda id_: records.Record('x', {'id': id_, 'parent_id': id_})
        )
        self.assertEqual(['a'], [each.id for each in found])
