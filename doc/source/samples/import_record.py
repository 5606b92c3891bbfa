# SPDX-License-Identifier: Apache-2.0

"""Register a backup at a site, from its export record.

Usage: import_record.py CLOUD FILE [VOLUME]

CLOUD is a name in clouds.yaml. FILE is what "openstack volume backup record
export -f json" has printed, or a bundle, of which all records are imported.
VOLUME, not with a bundle, is the ID of an empty volume of the same size at the
site: the backup is registered as a backup of this volume.
"""

import base64
import json
import sys

import openstack

cloud, path, *volume = sys.argv[1:]
with open(path) as stream:
    found = json.load(stream)
site = openstack.connect(cloud=cloud)
for record in found.get('records', [found]):
    url = record['backup_url']
    if volume:
        backup = json.loads(base64.b64decode(url))
        backup['volume_id'] = volume[0]
        url = base64.b64encode(json.dumps(backup).encode()).decode()
    answer = site.block_storage.post('/backups/import_record', json={
        'backup-record': {
            'backup_service': record['backup_service'], 'backup_url': url}})
    if answer.ok:
        print(answer.json()['backup']['id'])
    else:
        print(answer.text, file=sys.stderr)
