# SPDX-License-Identifier: Apache-2.0

"""Databases from nothing: what the ``*-manage`` commands do.

One short-lived process per service, because each has one global
configuration; they run side by side.
"""

import os
import sys
from typing import Any

from minicloud import config
from minicloud import personas
from minicloud import releases
from minicloud import roles
from minicloud import seed

PARTS = ('keystone', 'placement', 'glance', 'nova', 'cinder')


def parts(settings: config.Settings) -> tuple[str, ...]:
    """Return the services that have databases in a cloud."""
    return PARTS + config.NETWORKS[settings.network]


def run(context: roles.Context, what: str) -> None:
    {'keystone': keystone, 'placement': placement, 'glance': glance,
     'nova': nova, 'cinder': cinder, 'neutron': neutron}[what](context)


def _forked(function: Any, *args: Any) -> None:
    """Run a command in a copy of this process, with its imports done."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            function(*args)
            code = 0
        except SystemExit as leaving:
            code = 0 if leaving.code in (None, 0) else 1
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    if status:
        raise SystemExit(f'{args} failed')


def keystone(context: roles.Context) -> None:
    from keystone.cmd import cli

    # Root is asked to whom the keys are to belong.
    owner = ([f'--keystone-user={os.getuid()}',
              f'--keystone-group={os.getgid()}']
             if os.geteuid() == 0 else [])
    os.environ['OS_BOOTSTRAP_PASSWORD'] = personas.PASSWORD
    for command in (['db_sync'],
                    ['fernet_setup', *owner],
                    ['credential_setup', *owner],
                    ['bootstrap', '--bootstrap-region-id',
                     personas.REGION]):
        _forked(cli.main, ['keystone-manage', '--config-file',
                           context.config('keystone.conf'), *command])


def placement(context: roles.Context) -> None:
    from placement.cmd import manage
    sys.argv = ['placement-manage', '--config-file',
                context.config('placement.conf'), 'db', 'sync']
    if code := manage.main():
        raise SystemExit(code)


def glance(context: roles.Context) -> None:
    from glance.cmd import manage
    sys.argv = ['glance-manage', '--config-file',
                context.config('glance-api.conf'), 'db', 'sync']
    if code := manage.main():
        raise SystemExit(code)


def cinder(context: roles.Context) -> None:
    releases.choose_cinder_threads()
    from cinder.cmd import manage
    sys.argv = ['cinder-manage', '--config-file',
                context.config('cinder.conf'), 'db', 'sync']
    if code := manage.main():
        raise SystemExit(code)


def neutron(context: roles.Context) -> None:
    options = ['--config-file', context.config('neutron.conf')]
    if context.database != 'sqlite':
        from neutron.db.migration import cli
        sys.argv = ['neutron-db-manage', *options, 'upgrade', 'heads']
        cli.main()
        return
    # Its migrations are not for SQLite: the tables are made of its models.
    from neutron.common import config as neutron_config
    from neutron.db.migration.models import head
    from neutron import objects
    from neutron_lib import context as neutron_context
    from neutron_lib.db import api

    neutron_config.register_common_config_options()
    neutron_config.init(options)
    objects.register_objects()
    admin = neutron_context.get_admin_context()
    with api.CONTEXT_WRITER.using(admin) as session:
        head.get_metadata().create_all(session.connection())
        _rules_of_security_groups(admin)


def _rules_of_security_groups(admin: Any) -> None:
    """Say what a new security group begins with, as a migration does.

    Without these, it would let nothing out.

    :param admin: context of Neutron's, within a transaction
    """
    from neutron.objects import securitygroup_default_rules as rules

    for ethertype in ('IPv4', 'IPv6'):
        for direction in ('egress', 'ingress'):
            incoming = direction == 'ingress'
            rules.SecurityGroupDefaultRule(
                admin, direction=direction, ethertype=ethertype,
                used_in_default_sg=True,
                used_in_non_default_sg=not incoming,
                # Who is in the same group may come in.
                remote_group_id='PARENT' if incoming else None).create()


def _cells(context: roles.Context) -> None:
    """Make the cells that hold servers, and what is in their databases."""
    from nova.cmd import manage
    import nova.conf
    from nova import context as nova_context
    from nova.db import migration
    from nova import objects

    for number in range(1, context.cells + 1):
        special = context.special_in_cell(number)
        name = f'cell{number}'
        if code := manage.CellV2Commands().create_cell(
                name=name,
                # Not through its gate, which is not there yet.
                database_connection=config.database_url(
                    context.layout, context.database, f'nova_{name}'),
                transport_url=special.get('DEFAULT', {}).get(
                    'transport_url', nova.conf.CONF.transport_url)):
            raise SystemExit(f'{name}: {code}')
        own = nova_context.get_admin_context()
        mapping = next(cell for cell in objects.CellMappingList.get_all(own)
                       if cell.name == name)
        with nova_context.target_cell(own, mapping) as targeted:
            migration.db_sync(context=targeted)


def nova(context: roles.Context) -> None:
    releases.choose_nova_threads()
    from nova.cmd import manage
    from nova import config as nova_config
    from nova import context as nova_context
    from nova import objects

    nova_config.parse_args(['nova-manage', '--config-file',
                            context.config('nova.conf')])
    objects.register_all()
    cell0 = config.database_url(
        context.layout, context.database, 'nova_cell0')
    for what, code in (
            ('api database', manage.ApiDbCommands().sync()),
            ('cell0', manage.CellV2Commands().map_cell0(
                database_connection=cell0)),
            ('databases', manage.DbCommands().sync())):
        if code:
            raise SystemExit(f'{what}: {code}')
    _cells(context)
    for name, gigabytes in seed.FLAVORS.items():
        objects.Flavor(
            context=nova_context.get_admin_context(), name=name,
            flavorid=name, memory_mb=config.MEMORY[context.driver],
            vcpus=1, root_gb=1, ephemeral_gb=gigabytes, swap=0,
            rxtx_factor=1.0, is_public=True, disabled=False,
            extra_specs={}).create()
