# SPDX-License-Identifier: Apache-2.0

"""What would not fit is found out before anything is frozen."""

from __future__ import annotations

from osc_quiesce.application import labels
from osc_quiesce.application import metadata
from osc_quiesce.tests.unit.application import base
from osc_quiesce.tests.unit.application import preflight_base


class FitTest(preflight_base.TestCase):
    def test_texts_that_are_too_long_in_ascii_are_refused(self) -> None:
        self.accepted(description='\xe9' * 60)
        self.refused('description', '255', description='\xe9' * 70)
        self.accepted(properties={'k': '\U0001f600' * 25})
        self.refused(
            'Property "k"', '255', properties={'k': '\U0001f600' * 26}
        )

    def test_a_server_of_which_too_much_is_to_be_recorded_is_refused(
        self,
    ) -> None:
        self.web.shown['metadata'] = {
            str(number): 'x' * 255 for number in range(200)
        }
        self.accepted()
        self.web.shown['metadata'] = {
            str(number): 'x' * 255 for number in range(320)
        }
        reasons = self.make().refusals
        self.assertEqual(2, len(reasons), 'one for each volume')
        for volume, reason in zip(('web-root', 'web-data'), reasons):
            for words in (volume, 'of server web', 'more than 80000 '):
                self.assertIn(words, reason)

    def test_large_user_data_are_refused_if_wanted(self) -> None:
        for server in (self.db, self.web):
            server.shown['OS-EXT-SRV-ATTR:user_data'] = 'x' * 65535
            server.shown['description'] = 'd' * 20000
        self.accepted()
        self.assertEqual(3, len(self.make(with_user_data=True).refusals))


class BodiesTest(base.TestCase):
    def test_a_server_without_a_snapshot_goes_with_the_first_one(
        self,
    ) -> None:
        db, web = self.plan.servers
        web = web.__class__(
            **{**vars(web), 'restore': {**web.restore, 'volumes': []}}
        )
        self.plan = self.plan.__class__(
            **{**vars(self.plan), 'servers': (db, web)}
        )
        first, second = (
            metadata.unpack(body['metadata'], 'servers')
            for body in labels.bodies(self.plan, 'id')
        )
        self.assertEqual(['db', 'web'], [each['name'] for each in first])
        self.assertEqual(['db'], [each['name'] for each in second])
