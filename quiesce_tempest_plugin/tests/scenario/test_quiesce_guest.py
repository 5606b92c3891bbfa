# SPDX-License-Identifier: Apache-2.0

"""A real guest stops writing while its server is quiesced."""

import re
import time

from tempest import config
from tempest.lib import decorators
from tempest.lib import exceptions

from quiesce_tempest_plugin.tests import base

CONF = config.CONF
#: seconds for which a quiesced guest is watched
WATCH = 5


class QuiesceGuestTest(base.QuiesceTest):
    """The guest writes records all the time, and says so on its console."""

    @classmethod
    def skip_checks(cls) -> None:
        super().skip_checks()
        if not CONF.quiesce_feature_enabled.console_records:
            raise cls.skipException(
                '[quiesce_feature_enabled]console_records says no: no guest '
                'says on its console what it writes')

    def numbers(self, pattern: str) -> list[int]:
        """Return the numbers that a server's console has of a kind."""
        said = self.servers_client.get_console_output(self.server)['output']
        return [int(found) for found in re.findall(
            pattern, said, re.MULTILINE)]

    def records(self) -> list[int]:
        """Return the numbers of the records that the guest has written."""
        return self.numbers(CONF.quiesce.record_pattern)

    def heartbeat(self) -> int:
        """Return the number of the last heartbeat."""
        return self.numbers(CONF.quiesce.heartbeat_pattern)[-1]

    def wait_for_record(self, number: int) -> None:
        """Wait until the guest has written a record of a higher number."""
        end = time.monotonic() + CONF.compute.build_timeout
        while self.records()[-1:] <= [number]:
            if time.monotonic() > end:
                raise exceptions.TimeoutException(
                    'The guest of server %s writes nothing after record %d'
                    % (self.server, number))
            time.sleep(CONF.compute.build_interval)

    @decorators.attr(type='slow')
    @decorators.idempotent_id('c785ddd3-4b93-40d7-800c-ed4d60f2d0c2')
    def test_guest_writes_nothing_while_quiesced(self) -> None:
        """It writes before and after, goes on in order, and runs meanwhile."""
        self.server = self.create_server()
        self.wait_for_record(0)

        self.quiesce(self.server)
        time.sleep(1)    # what it said before may be on its way
        last, beat = self.records()[-1], self.heartbeat()
        time.sleep(WATCH)
        self.assertEqual(last, self.records()[-1])
        self.assertGreater(self.heartbeat(), beat, 'the guest stands still')

        self.unquiesce(self.server)
        self.wait_for_record(last)
        # A line may be missing: two that are said at once spoil each other.
        records = self.records()
        self.assertEqual(sorted(set(records)), records)
