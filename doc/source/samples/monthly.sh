#!/bin/sh
# Rehearse the restore of the application shop at siteB, from its newest set.
set -e  # the first failure is the last step, and the exit code
at_b() { openstack --os-cloud siteB application "$@"; }

set=$(at_b backup list --application shop -f value -c ID -c Consistency |
    awk '$2 == "consistent" { id = $1 } END { print id }')
at_b drill "$set" --mapping mapping.yaml
