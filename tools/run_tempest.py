# SPDX-License-Identifier: Apache-2.0

"""Run tempest on a minicloud: tools/run_tempest.py VERB [ARGUMENT...].

``plugin``
    The tests of quiesce_tempest_plugin. Where the guests are not real, those
    of real guests are to be skipped, and to say why.
``compute NAME``
    Tempest's own tests of servers that tools/tempest-compute-tests.txt lists;
    the results are kept under the name, ``with`` or ``without``.
``compare``
    Fails if one of these tests passes without the quiesce actions, and not
    with them.

The first two are for a command of ``python -m minicloud run`` or ``exec``.
They write a tempest.conf of that cloud, and run ``tempest run``; all of it is
in the directory ``tempest`` of the environment.
"""

import configparser
import os
import pathlib
import subprocess
import sys

import minicloud
from minicloud import personas
from minicloud import seed
import openstack

import results

HERE = pathlib.Path(__file__).resolve().parent
#: Tempest's own tests that a cloud without Neutron can pass.
LIST = HERE / 'tempest-compute-tests.txt'
WORK = pathlib.Path(sys.prefix) / 'tempest'
NAMES = ('without', 'with')
#: how the names of our tests begin
PLUGIN = r'^quiesce_tempest_plugin\.tests\.'


def configuration(real_guests: bool) -> dict[str, dict[str, object]]:
    """Return the sections of tempest.conf for the cloud of the environment.

    :param real_guests: whether the guests write, and say so on the console
    """
    cloud = openstack.connect()
    images = {name: cloud.image.find_image(name, ignore_missing=False).id
              for name in (seed.IMAGE_WITH_AGENT, seed.IMAGE_WITHOUT_AGENT)}
    flavors = [cloud.compute.find_flavor(name, ignore_missing=False).id
               for name in seed.FLAVORS]
    admin = personas.PERSONAS['admin']
    return {
        'DEFAULT': {'log_dir': WORK, 'log_file': 'tempest.log'},
        'oslo_concurrency': {'lock_path': WORK / 'lock'},
        'auth': {'admin_username': admin.name,
                 'admin_project_name': admin.project,
                 'admin_password': personas.PASSWORD,
                 'admin_domain_name': 'Default',
                 'create_isolated_networks': False},
        'identity': {'uri_v3': os.environ['OS_AUTH_URL'],
                     'region': personas.REGION},
        'enforce_scope': {'nova': True},
        # The network service only says that there is nothing. Without it
        # tempest would skip tests of servers that need no network either.
        'service_available': {'nova': True, 'glance': True, 'cinder': True,
                              'neutron': True, 'swift': False,
                              'horizon': False},
        'validation': {'run_validation': False},
        'compute': {'image_ref': images[seed.IMAGE_WITH_AGENT],
                    'image_ref_alt': images[seed.IMAGE_WITHOUT_AGENT],
                    'flavor_ref': flavors[0],
                    'flavor_ref_alt': flavors[1],
                    'max_microversion': 'latest',
                    'build_timeout': 180 if real_guests else 60},
        'compute-feature-enabled': {'cold_migration': False,
                                    'config_drive': False,
                                    'interface_attach': False,
                                    'live_migration': False,
                                    'metadata_service': False,
                                    'snapshot': real_guests},
        'quiesce': {'image_ref_no_agent': images[seed.IMAGE_WITHOUT_AGENT]},
        'quiesce_feature_enabled': {'console_records': real_guests},
    }


def has_real_guests() -> bool:
    """Say whether the cloud of the environment has a hypervisor."""
    cloud = minicloud.Cloud(os.environ['MINICLOUD_ROOT'])
    return 'hypervisor' in cloud.roles()


def tempest(*selection: str) -> results.Results:
    """Write tempest.conf, run the tests, and return their results.

    :param selection: options of ``tempest run``
    """
    WORK.mkdir(exist_ok=True)
    config = configparser.RawConfigParser()
    config.read_dict(configuration(has_real_guests()))
    path = WORK / 'tempest.conf'
    with path.open('w') as file:
        config.write(file)
    subprocess.run(['tempest', 'run', '--config-file', str(path),
                    '--concurrency', '2', *selection], cwd=WORK)
    return results.last(WORK)


def plugin() -> int:
    """Run the tests of the plugin."""
    if has_real_guests():
        return results.summary(tempest('--regex', PLUGIN))
    skipped = tempest('--regex', PLUGIN + r'scenario\.')
    if set(skipped.values()) != {results.SKIPPED} or not all(
            '[quiesce_feature_enabled]' in reason
            for reason in results.reasons(WORK)):
        print('The tests of real guests are to be skipped, and to say why: '
              '%s' % skipped, file=sys.stderr)
        return 1
    # Where nothing may be skipped, what cannot be run is not asked for.
    return results.summary(tempest('--regex', PLUGIN + r'api\.'))


def compute(name: str) -> int:
    """Run tempest's own tests, and keep the results under a name."""
    WORK.mkdir(exist_ok=True)
    # The name of a test is followed by its id in brackets.
    include = results.include(WORK / 'include', results.listed(LIST), r'\[')
    found = tempest('--include-list', str(include))
    print(results.counted(found), flush=True)
    results.save(WORK / ('%s.json' % name), found)
    return 0    # compare says what is wrong


def main(arguments: list[str]) -> int:
    """Run one of them, and return the exit code."""
    if arguments == ['plugin']:
        return plugin()
    if arguments[:1] == ['compute'] and arguments[1:] in ([n] for n in NAMES):
        return compute(arguments[1])
    if arguments == ['compare']:
        return results.compare(results.listed(LIST), *(
            results.load(WORK / ('%s.json' % name)) for name in NAMES))
    print('usage: tools/run_tempest.py plugin|compute %s|compare' % (
        '|'.join(NAMES)), file=sys.stderr)
    return 2


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
