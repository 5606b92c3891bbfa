#!/bin/sh
# Rehearse the restore of the application shop at siteB, from its newest set.
set -e  # the first failure is the last step, and the exit code
at_b() { openstack --os-cloud siteB application "$@"; }

sets=$(at_b backup list --application shop -f value -c ID -c Consistency)
set=$(echo "$sets" | awk '$2 == "consistent" { id = $1 } END { print id }')
if [ -z "$set" ]; then
    echo "siteB has no consistent backup set of the application shop." >&2
    exit 1
fi
at_b drill "$set" --mapping mapping.yaml
