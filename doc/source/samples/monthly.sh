#!/bin/sh -e
# Rehearse the restore of the application shop at siteB, from its newest set.
at_b() { openstack --os-cloud siteB application "$@"; }

set=$(at_b backup list --application shop -f value -c ID -c Consistency |
    awk '$2 == "consistent" { id = $1 } END { print id }')
at_b drill "$set" --mapping mapping.yaml
