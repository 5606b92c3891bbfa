# SPDX-License-Identifier: Apache-2.0

"""Take a snapshot of each volume of servers, while all of them are frozen.

Usage: take_snapshots.py CLOUD NAME SERVER [SERVER ...]

CLOUD is an entry of clouds.yaml. The servers are frozen in this order.
"""

import contextlib
import signal
import sys
import time

import openstack
from osc_quiesce import client
from osc_quiesce import group


class Stop:
    """Ends the freezing on SIGTERM, between two requests."""

    noted = shielded = False

    def note(self, signum, frame):
        self.noted = True

    def sleep(self, seconds):
        time.sleep(seconds)
        if self.noted and not self.shielded:
            raise SystemExit(128 + signal.SIGTERM)

    @contextlib.contextmanager
    def shield(self):
        self.shielded = True
        try:
            yield
        finally:
            self.shielded = False


def take(cloud, name, servers, stop):
    connection = openstack.connect(cloud=cloud)
    storage = connection.block_storage
    quiesce = client.Client(adapter=connection.compute, sleep=stop.sleep)
    stages = [[quiesce.find_server(server)] for server in servers]
    volumes = [
        attached.volume_id for [server] in stages
        for attached in connection.compute.volume_attachments(server.id)]
    snapshots = []
    try:
        with group.quiesced(quiesce, stages, unquiesce_after=120,
                            shield=stop.shield) as frozen:
            for volume in volumes:
                snapshots.append(storage.create_snapshot(
                    volume_id=volume, name=name, is_forced=True))
            for snapshot in snapshots:
                storage.wait_for_status(
                    snapshot, 'available', ['error'], interval=0.2, wait=60)
        frozen.verify()  # raises if a server did not stay frozen
    except BaseException:
        for snapshot in snapshots:
            storage.delete_snapshot(snapshot)
        raise
    print(f'Snapshots: {len(snapshots)}. Servers were frozen for at most '
          f'{frozen.report.window:.1f} s.')


if __name__ == '__main__':
    stop = Stop()
    signal.signal(signal.SIGTERM, stop.note)
    take(sys.argv[1], sys.argv[2], sys.argv[3:], stop)
