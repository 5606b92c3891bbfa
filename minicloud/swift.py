# SPDX-License-Identifier: Apache-2.0

"""Swift as the store of backups of several clouds: its files, its users.

It is a store apart from all clouds, and has users of its own: what a cloud
needs to get its backups back must not depend on that cloud. One account holds
all backups. Its owner may do everything; a reader may read what the owner has
written, and write to containers of its own.

Nothing here imports Swift, starts or changes anything.
"""

import http.client
import os
import pathlib
import pwd

from minicloud import ports
from minicloud.errors import MinicloudError
from minicloud.layout import Layout

#: The servers, in the order of their start.
SERVERS = ('object', 'container', 'account', 'proxy')
ACCOUNT = 'backup'
PASSWORD = 'minicloud'      # noqa: S105
#: What a cloud can be in the account: name of the user by ``--store-access``.
USERS = {'owner': f'{ACCOUNT}:owner', 'reader': f'{ACCOUNT}:reader'}
#: Where each of them puts its backups.
CONTAINERS = {'owner': 'volumebackups', 'reader': 'reader-backups'}
#: Where osc_quiesce puts its proofs; whoever may not make containers needs it.
PROOFS = 'osc-quiesce-proofs'
#: The access control lists of these: the owner may do everything anyway.
LISTS = {
    CONTAINERS['owner']: {'X-Container-Read': USERS['reader']},
    **{container: {'X-Container-Read': USERS['reader'],
                   'X-Container-Write': USERS['reader']}
       for container in (CONTAINERS['reader'], PROOFS)},
}
BUCKET = 's3-backups'
#: Packages of each choice of ``--backup`` and of the store itself, and the
#: module that shows that each is there.
PACKAGES = {
    'store': {'swift': 'swift', 'pyeclib': 'pyeclib', 'xattr': 'xattr'},
    'swift': {'python-swiftclient': 'swiftclient'},
    's3': {'boto3': 'boto3', 'botocore': 'botocore',
           's3transfer': 's3transfer'},
}

COMMON = """\
[DEFAULT]
bind_ip = {address}
bind_port = {port}
swift_dir = {etc}
devices = {devices}
user = {user}
workers = 0
mount_check = false
# No answer may be late. A server that does not answer in time is left alone
# for a minute, and there is no other one; and a container that hears late of
# an object leaves it out of its list.
conn_timeout = 10
node_timeout = 120
client_timeout = 120
container_update_timeout = 60
fallocate_reserve = 0
log_level = WARNING
"""
BACKEND = """
[pipeline:main]
pipeline = {server}-server

[app:{server}-server]
use = egg:swift#{server}
"""
PROXY = """
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck s3api tempauth copy slo \
proxy-server

[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
error_suppression_limit = 1000000
conn_timeout = 10
node_timeout = 120

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:gatekeeper]
use = egg:swift#gatekeeper

[filter:healthcheck]
use = egg:swift#healthcheck

[filter:copy]
use = egg:swift#copy

[filter:slo]
use = egg:swift#slo

[filter:s3api]
use = egg:swift#s3api

[filter:tempauth]
use = egg:swift#tempauth
{users}
# Tokens are signed and not remembered: they need no memcached.
fernet_key_1 = {key}
active_fernet_key_id = 1
"""
HASHES = """\
[swift-hash]
swift_hash_path_suffix = minicloud

[storage-policy:0]
name = one
default = yes
"""


def service(server: str) -> str:
    """Return the name of the port of a server."""
    return 'store' if server == 'proxy' else f'store-{server}'


def files(layout: Layout, numbers: dict[str, int], key: str,
          ) -> dict[str, str]:
    """Return the content of each file of Swift's configuration.

    :param layout: of the store
    :param numbers: the port of each service
    :param key: by which tokens are signed
    """
    made = {'swift.conf': HASHES}
    for server in SERVERS:
        text = COMMON.format(
            address=ports.ADDRESS, port=numbers[service(server)],
            etc=layout.etc, devices=layout.state / 'devices',
            user=pwd.getpwuid(os.geteuid()).pw_name)
        if server == 'proxy':
            text += PROXY.format(key=key, users='\n'.join(
                f'user_{user.replace(":", "_")} = {PASSWORD}'
                + (' .admin' if access == 'owner' else '')
                for access, user in USERS.items()))
        else:
            text += BACKEND.format(server=server)
        made[f'{server}-server.conf'] = text
    return made


def configuration(server: str) -> str:
    """Return the name of the file of a server."""
    return f'{server}-server.conf'


def port_of(store: pathlib.Path) -> int:
    """Return the port of the store in a directory, whether it runs or not.

    :raises MinicloudError: if there never was one
    """
    saved = ports.read(Layout.of(store).ports)
    if 'store' not in saved:
        raise MinicloudError(
            f'there is no store in {store}: "python -m minicloud store up '
            f'--root {store}" makes one')
    return saved['store']


def swift_options(port: int, access: str) -> dict[str, str]:
    """Return the options of Cinder's driver for Swift.

    :param port: of the store
    :param access: key of :data:`USERS`
    """
    url = f'http://{ports.ADDRESS}:{port}'
    return {
        'backup_driver': 'cinder.backup.drivers.swift.SwiftBackupDriver',
        'backup_swift_auth': 'single_user',
        'backup_swift_auth_version': '1',
        'backup_swift_auth_url': f'{url}/auth/v1.0',
        # Asked whether it is there, at the start; nothing else.
        'backup_swift_url': f'{url}/v1/AUTH_',
        'backup_swift_user': USERS[access],
        'backup_swift_key': PASSWORD,
        'backup_swift_container': CONTAINERS[access]}


def s3_options(port: int) -> dict[str, str]:
    """Return the options of Cinder's driver for S3, as the owner.

    :param port: of the store
    """
    return {
        'backup_driver': 'cinder.backup.drivers.s3.S3BackupDriver',
        'backup_s3_endpoint_url': f'http://{ports.ADDRESS}:{port}',
        'backup_s3_store_access_key': USERS['owner'],
        'backup_s3_store_secret_key': PASSWORD,
        'backup_s3_store_bucket': BUCKET}


def answers(port: int) -> bool:
    """Whether a store is ready for its clients there."""
    connection = http.client.HTTPConnection(ports.ADDRESS, port, timeout=5)
    try:
        connection.request('GET', '/healthcheck')
        return connection.getresponse().read() == b'OK'
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
