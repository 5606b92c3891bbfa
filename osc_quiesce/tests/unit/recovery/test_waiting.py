# SPDX-License-Identifier: Apache-2.0

"""What is waited for is looked at by one listing, however much it is."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any
import unittest

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

RESTORING = {'restoring-backup'}


class Cloud:
    """Volumes that are restored for some seconds.

    :ivar fault: raised by each listing
    :ivar ignores_filters: whether listings have all volumes
    """

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.ends = {f'v{number}': 10.0 + number for number in range(count)}
        self.asked: collections.Counter[str] = collections.Counter()
        self.fault: Exception | None = None
        self.ignores_filters = False

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def row(self, id_: str) -> dict[str, Any]:
        return {'id': id_, 'status': 'available' if self.now >= self.ends[
            id_] else 'restoring-backup'}

    def volume(self, _method: str, path: str, *_rest: Any) -> Any:
        self.asked['one'] += 1
        return {'volume': self.row(path.removeprefix('/volumes/'))}

    def pages(self, _service: str, _path: str, _key: str,
              _microversion: str) -> Iterator[dict[str, Any]]:
        self.asked['all'] += 1
        if self.fault:
            raise self.fault
        yield from (
            row for row in map(self.row, self.ends)
            if self.ignores_filters or row['status'] in RESTORING)


class TestWaiter(unittest.TestCase):
    def wait(self, cloud: Any) -> None:
        waiter = waiting.Waiter(
            cloud, retry.Timer(lambda: cloud.now, cloud.sleep), 60.0)
        for id_ in cloud.ends:
            found = waiter.volume(id_, RESTORING)
            self.assertEqual('available', found['status'])
            self.assertGreaterEqual(cloud.now, cloud.ends[id_])

    def test_each_is_looked_at_twice_however_long_it_takes(self) -> None:
        cloud = Cloud(1)
        cloud.ends['v0'] = 50.0
        self.wait(cloud)
        self.assertEqual(2, cloud.asked['one'])
        self.assertLess(cloud.asked['all'], 50)

    def test_a_listing_serves_all_while_it_is_young(self) -> None:
        cloud = Cloud(2)
        listings = waiting._Listings(cloud, lambda: cloud.now)  # type: ignore
        for id_ in 'v0', 'v1':
            self.assertTrue(listings.has('volumes', cloud.row(id_), 1.0))
        self.assertEqual(1, cloud.asked['all'])
        row = cloud.row('v0')
        cloud.now = 20.0
        self.assertFalse(listings.has('volumes', row, 1.0))

    def test_a_listing_that_fails_is_done_without(self) -> None:
        cloud = Cloud(2)
        cloud.fault = cloud_api.CloudError('not allowed', 400)
        self.wait(cloud)

    def test_a_site_may_ignore_the_filter(self) -> None:
        cloud = Cloud(2)
        cloud.ignores_filters = True
        self.wait(cloud)
