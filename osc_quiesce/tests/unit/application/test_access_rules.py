# SPDX-License-Identifier: Apache-2.0

"""The documented access rules are enough for quiescing and snapshot sets."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any
from unittest import mock

from osc_quiesce.application import snapshot_sets
from osc_quiesce.tests.unit import fakes
from osc_quiesce.tests.unit.application import base
from osc_quiesce.tests.unit.application import preflight_base

RULES = pathlib.Path(__file__).parents[4] / (
    'doc/source/samples/access-rules.json')


def matches(path: str, pattern: str) -> bool:
    """Return whether Keystone's middleware takes a path for this pattern."""
    parts = re.split(r'(\*\*|\*)', pattern)
    expression = ''.join(
        {'*': '[^/]+', '**': '.*'}.get(part, re.escape(part))
        for part in parts)
    return re.fullmatch(expression, path) is not None


class RulesTest(fakes.TestCase):
    def note_nova(self) -> list[tuple[str, str, str]]:
        """Return what Nova will have been asked for."""
        asked: list[tuple[str, str, str]] = []

        def hook(request: Any, context: Any) -> None:
            path = request.url.partition('?')[0]
            asked.append(('compute', request.method,
                          path.removeprefix('http://nova.example')))

        self.nova.hooks.append(hook)
        return asked

    def note_cinder(self, cinder: Any, asked: list[Any]) -> None:
        def volume(method: str, path: str, *args: Any, **kwargs: Any) -> Any:
            asked.append(('block-storage', method,
                          '/v3/project' + path.partition('?')[0]))
            return send(method, path, *args, **kwargs)

        send = cinder.volume
        patch = mock.patch.object(cinder, 'volume', volume)
        patch.start()
        self.addCleanup(patch.stop)

    def assert_allowed(self, asked: list[tuple[str, str, str]]) -> None:
        rules = json.loads(RULES.read_text())
        for service, method, path in set(asked):
            with self.subTest(f'{method} {path}'):
                self.assertTrue(any(
                    (service, method) == (rule['service'], rule['method'])
                    and matches(path, rule['path']) for rule in rules))


class PlanTest(RulesTest, preflight_base.TestCase):
    def test_a_plan_asks_for_nothing_else(self) -> None:
        asked = self.note_nova()
        self.cloud.rules = ['']  # restricted, and all is allowed
        image = self.cloud.volumes['web-root']['volume_image_metadata']
        image['os_require_quiesce'] = 'yes'
        self.web.shown.update({
            'server_groups': ['g'],
            'addresses': {'net': []},
            'OS-EXT-SRV-ATTR:hypervisor_hostname': 'kvm7'})
        self.note_cinder(self.cloud, asked)
        self.accepted()
        self.assertIn(('block-storage', 'POST', '/v3/project/snapshots'),
                      asked)
        self.assert_allowed(asked)


class SetTest(RulesTest, base.TestCase):
    def test_making_and_deleting_a_set_asks_for_nothing_else(self) -> None:
        asked = self.note_nova()
        self.note_cinder(self.cinder, asked)
        made = self.create()
        snapshot_sets.delete(self.cloud, made.id, self.client.timer)
        self.assertIn('POST', {method for _service, method, _path in asked})
        self.assertIn(
            ('block-storage', 'DELETE', '/v3/project/snapshots/s-db-vda'),
            asked)
        self.assert_allowed(asked)
