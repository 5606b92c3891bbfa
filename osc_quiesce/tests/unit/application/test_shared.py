# SPDX-License-Identifier: Apache-2.0

"""What is the same for several servers is read once."""

from __future__ import annotations

import threading
import unittest

from osc_quiesce.application import shared
from osc_quiesce import concurrency


class SharedTest(unittest.TestCase):
    def test_of_many_threads_one_reads(self) -> None:
        reads: list[str] = []
        together = threading.Barrier(8)
        known = shared.Shared()

        def read(key: str) -> str:
            reads.append(key)
            return key.upper()

        def ask(number: int) -> str:
            together.wait(30)
            key = 'ab'[number % 2]
            return known.read(key, lambda: read(key))

        found = concurrency.run_all(ask, range(8), threads=8)
        self.assertEqual('ABABABAB', ''.join(found))
        self.assertEqual(['a', 'b'], sorted(reads))

    def test_nothing_is_remembered_of_a_failure(self) -> None:
        known = shared.Shared()
        with self.assertRaises(ZeroDivisionError):
            known.read('key', lambda: 1 // 0)
        self.assertIsNone(known.read('key', lambda: None))
        self.assertIsNone(known.read('key', lambda: 1 // 0))
