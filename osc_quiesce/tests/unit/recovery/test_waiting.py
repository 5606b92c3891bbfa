# SPDX-License-Identifier: Apache-2.0

"""What is waited for is looked at by one listing, however much it is."""

from __future__ import annotations

import collections
from collections.abc import Iterator
from typing import Any
import unittest

from osc_quiesce.application import cloud as cloud_api
from osc_quiesce.recovery import listings
from osc_quiesce.recovery import waiting
from osc_quiesce import retry

RESTORING = {'restoring-backup'}


class Cloud:
    """Volumes that are restored for some seconds.

    :ivar fault: raised by each listing
    :ivar ignores_filters: whether listings have all volumes
    :ivar services: the states of cinder-backup, as they are from a time on
    """

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.ends = {f'v{number}': 10.0 + number for number in range(count)}
        self.asked: collections.Counter[str] = collections.Counter()
        self.fault: Exception | None = None
        self.ignores_filters = False
        self.services = {0.0: 'up'}

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def row(self, id_: str) -> dict[str, Any]:
        return {'id': id_, 'status': 'available' if self.now >= self.ends[
            id_] else 'restoring-backup'}

    def volume(self, _method: str, path: str, *_rest: Any) -> Any:
        if path.startswith('/os-services'):
            self.asked['services'] += 1
            state = self.services[
                max(at for at in self.services if at <= self.now)]
            return {'services': [
                {'host': 'b1', 'status': 'enabled', 'state': state}]}
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
    def wait(self, cloud: Any, timeout: float = 60.0) -> None:
        waiter = waiting.Waiter(
            cloud, retry.Timer(lambda: cloud.now, cloud.sleep), timeout)
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
        found = listings.Listings(cloud, lambda: cloud.now)  # type: ignore
        for id_ in 'v0', 'v1':
            self.assertTrue(found.has('volumes', cloud.row(id_), 1.0))
        self.assertEqual(1, cloud.asked['all'])
        row = cloud.row('v0')
        cloud.now = 20.0
        self.assertFalse(found.has('volumes', row, 1.0))

    def test_a_listing_that_fails_is_done_without(self) -> None:
        cloud = Cloud(2)
        cloud.fault = cloud_api.CloudError('not allowed', 400)
        self.wait(cloud)

    def test_a_site_may_ignore_the_filter(self) -> None:
        cloud = Cloud(2)
        cloud.ignores_filters = True
        self.wait(cloud)

    def test_a_service_that_is_down_is_told_once(self) -> None:
        cloud = Cloud(1)
        cloud.ends['v0'] = 1000.0
        cloud.services = {0.0: 'down', 500.0: 'up', 700.0: 'down'}
        with self.assertLogs('osc_quiesce', 'WARNING') as logs:
            self.wait(cloud, 2000.0)
        self.assertEqual(2, len(logs.output))
        for line in logs.output:
            self.assertIn('No cinder-backup service is up on b1: start', line)
        self.assertEqual(11, cloud.asked['services'])

    def test_one_that_is_up_is_no_news(self) -> None:
        cloud = Cloud(1)
        cloud.ends['v0'] = 1000.0
        with self.assertNoLogs('osc_quiesce', 'WARNING'):
            self.wait(cloud, 2000.0)
