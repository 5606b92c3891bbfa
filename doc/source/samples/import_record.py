# SPDX-License-Identifier: Apache-2.0

"""Register a backup at a site, from its export record.

Usage: import_record.py CLOUD FILE [VOLUME]

CLOUD is a name in clouds.yaml. FILE is what "openstack volume backup record
export -f json" has printed, or a bundle, of which all records are imported.
VOLUME, not with a bundle, is the ID of an empty volume of the same size at the
site: the backup is registered as a backup of this volume.

The exit code is 1 if a record was refused, unless the site has the backup.
"""

import base64
import json
import sys

import openstack

cloud, path, *volume = sys.argv[1:]
with open(path) as stream:
    found = json.load(stream)
site = openstack.connect(cloud=cloud)
failed = False
for record in found.get('records', [found]):
    url = record['backup_url']
    backup = json.loads(base64.b64decode(url))
    if volume:
        backup['volume_id'] = volume[0]
        url = base64.b64encode(json.dumps(backup).encode()).decode()
    answer = site.block_storage.post('/backups/import_record', json={
        'backup-record': {
            'backup_service': record['backup_service'], 'backup_url': url}})
    if answer.ok:
        print(answer.json()['backup']['id'])
    elif site.block_storage.get('/backups/' + backup['id']).ok:
        print(backup['id'], 'exists already', file=sys.stderr)
    else:
        print(backup['id'], answer.text, file=sys.stderr)
        failed = True
sys.exit(failed)
