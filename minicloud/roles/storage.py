# SPDX-License-Identifier: Apache-2.0

"""Ceph: a monitor, an OSD that keeps all in one file, and a manager."""

import json
import shutil
from typing import Any
import uuid

from minicloud import ceph
from minicloud import roles
from minicloud import servers
from minicloud.roles.program import Programs


class Cluster:
    """Commands to the monitor, through one connection.

    :param configuration: path of ceph.conf
    """

    def __init__(self, configuration: str) -> None:
        import rados
        self.rados = rados.Rados(conffile=configuration, name='client.admin')
        self.rados.connect(timeout=int(roles.PATIENCE))

    def tell(self, prefix: str, **arguments: Any) -> Any:
        """Return what a command answers.

        :param prefix: the command, as ``ceph`` takes it
        """
        code, answer, words = self.rados.mon_command(json.dumps(
            {'prefix': prefix, 'format': 'json', **arguments}), b'')
        if code:
            raise RuntimeError(f'{prefix} {arguments}: {code} {words}')
        return json.loads(answer) if answer.startswith(b'{') else None

    def announce_osd(self, identity: str) -> None:
        """Give the OSD that is to come a number and a place.

        :param identity: of the OSD, as it will say it
        """
        # What the manager would make a pool for.
        self.tell('config set', who='mgr', force=True, value='false',
                  name='mgr/devicehealth/enable_monitoring')
        self.tell('config set', who='mon', value='false',
                  name='auth_allow_insecure_global_id_reclaim')
        self.tell('osd new', uuid=identity)
        self.tell('osd crush add-bucket', name='minicloud', type='host')
        self.tell('osd crush move', name='minicloud', args=['root=default'])
        self.tell('osd crush add', id=int(ceph.OSD_ID), weight=1.0,
                  args=['host=minicloud'])
        # For clones of snapshots that need no protection.
        self.tell('osd set-require-min-compat-client', version='mimic',
                  yes_i_really_mean_it=True)

    def osd_is_up(self) -> bool:
        return bool(self.tell('osd stat')['num_up_osds'] == 1)

    def make_pool(self) -> None:
        """Make the pool of Cinder's volumes."""
        import rbd
        self.tell('osd pool create', pool=ceph.POOL, pg_num=8, pgp_num=8)
        self.tell('osd pool application enable', pool=ceph.POOL, app='rbd')
        self.rados.wait_for_latest_osdmap()
        with self.rados.open_ioctx(ceph.POOL) as pool:
            rbd.RBD().pool_init(pool, True)

    def has_room(self) -> bool:
        """Whether the manager has told how much, by which Cinder goes."""
        return any(pool['stats']['max_avail']
                   for pool in self.tell('df')['pools'])


def run(context: roles.Context) -> None:
    held = context.sockets['storage']
    port = held.getsockname()[1]
    home = context.layout.storage
    configuration = context.config('ceph.conf')
    ceph.load_modules()
    programs = Programs(context, servers.environment(home))

    def common(program: str, number: str) -> tuple[str, ...]:
        return (program, '-c', configuration, '-i', number, '-f')

    mon = common(ceph.MON, ceph.MON_ID)
    osd = common(ceph.OSD, ceph.OSD_ID)
    mgr = common(ceph.MGR, ceph.MGR_ID)
    made = home / 'made'
    new = not made.exists()
    if new:
        # A first start that was interrupted leaves half a cluster.
        shutil.rmtree(home, ignore_errors=True)
        for name in ('mon', 'osd', 'mgr', 'crash'):
            (home / name).mkdir(parents=True)
    monmap = str(home / 'monmap')
    programs.run(
        ceph.MONMAPTOOL, '--create', '--clobber',
        '--fsid', ceph.fsid(context.layout),
        '--addv', ceph.MON_ID, f'[v2:127.0.0.1:{port}]', monmap)
    if new:
        programs.run(*mon, '--mkfs', '--monmap', monmap)
    else:
        # The port is another one if somebody has taken the old one.
        programs.run(*mon, '--inject-monmap', monmap)
    # It was held for the monitor, which does not take it open.
    held.close()
    programs.serve(ceph.MON, programs.start(*mon),
                   lambda: ceph.answers(port))
    cluster = Cluster(configuration)
    if new:
        identity = str(uuid.uuid4())
        cluster.announce_osd(identity)
        programs.run(*osd, '--mkfs', '--osd-uuid', identity)
    manager = programs.start(*mgr)
    programs.serve(ceph.OSD, programs.start(*osd), cluster.osd_is_up)
    if new:
        cluster.make_pool()
    programs.serve(ceph.MGR, manager, cluster.has_room)
    cluster.rados.shutdown()
    made.touch()
