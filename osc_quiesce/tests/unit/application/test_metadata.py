# SPDX-License-Identifier: Apache-2.0

"""Whatever is written into metadata can be read again, and is ASCII."""

from __future__ import annotations

import itertools
import unittest

from osc_quiesce.application import metadata

TEXTS = (
    '',
    'plain',
    'caf\xe9 \u0446\u0435\u0445 \U0001f600',
    'C:\\xe9 \\\\ \\u0041 \\',
    'two\nlines',
)


class EscapeTest(unittest.TestCase):
    def test_everything_is_ascii_and_comes_back(self) -> None:
        texts = map(''.join, itertools.product('\\xe9\xe9', repeat=5))
        for text in (*TEXTS, *texts):
            escaped = metadata.escape(text)
            self.assertTrue(escaped.isascii(), escaped)
            self.assertEqual(text, metadata.unescape(escaped))

    def test_ascii_without_backslashes_stays_as_it_is(self) -> None:
        self.assertEqual('a b-c_1/"', metadata.escape('a b-c_1/"'))

    def test_what_was_written_by_hand_is_read_as_it_is(self) -> None:
        for text in ('caf\xe9', '\\U99999999', '\\x4', '\\'):
            self.assertEqual(text, metadata.unescape(text))

    def test_what_was_not_utf8_can_be_written_and_printed(self) -> None:
        for text in ('\udc80', '\ud83d'):
            escaped = metadata.escape(text)
            self.assertTrue(escaped.isascii(), escaped)
            self.assertEqual(escaped, metadata.unescape(escaped))

    def test_what_is_too_long_is_not_cut_inside_a_character(self) -> None:
        for text in ('x' * 300, '\U0001f600' * 100, '\\' * 300):
            value = metadata.fitting(text)
            self.assertLessEqual(len(value), metadata.PIECE)
            self.assertGreater(len(value), metadata.PIECE - 10)
            self.assertTrue(text.startswith(metadata.unescape(value)))


class KeysTest(unittest.TestCase):
    def test_short_values_come_back(self) -> None:
        for text in TEXTS:
            written = {'metadata': metadata.ours({'set': text})}
            self.assertEqual([metadata.PREFIX + 'set'], [*written['metadata']])
            self.assertEqual(text, metadata.get(written, 'set'))

    def test_what_is_not_there_is_empty(self) -> None:
        for resource in ({}, {'metadata': None}, {'metadata': {'set': 'x'}}):
            self.assertEqual('', metadata.get(resource, 'set'))
            self.assertEqual(0, metadata.number(resource, 'set'))

    def test_values_of_any_length_come_back_in_pieces_of_ascii(self) -> None:
        for value in (
            [], {}, '', 'x' * 1000, {'name': TEXTS[2] * 99}, [None, 1.5]
        ):
            packed = metadata.pack('key', value)
            for name, piece in packed.items():
                self.assertTrue(metadata.KEY.fullmatch(name))
                self.assertTrue(piece.isascii())
                self.assertLessEqual(len(piece), metadata.PIECE)
            self.assertEqual(value, metadata.unpack(packed, 'key'))

    def test_what_is_not_wholly_there_is_none(self) -> None:
        packed = metadata.pack('key', 'x' * 700)
        del packed[metadata.PREFIX + 'key.1']
        self.assertIsNone(metadata.unpack(packed, 'key'))
        self.assertIsNone(metadata.unpack({}, 'key'))
