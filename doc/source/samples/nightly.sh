#!/bin/sh
# One recovery point of the application shop: taken at siteA, registered at
# siteB. Usage: nightly.sh [NAME]
set -e  # the first failure is the last step, and the exit code
name="${1:-shop-$(date -u +%Y%m%dT%H%M%S)}"
at_a() { openstack --os-cloud siteA application "$@"; }

at_a snapshot create --file shop.yaml "$name"
at_a backup create "$name" --to-cloud siteB --mapping mapping.yaml \
    --delete-snapshots
at_a backup delete --application shop --keep-last 14 --to-cloud siteB
