#!/bin/sh
# The alarm: is there a recovery point of the application shop at siteB that is
# at most 26 hours old? Usage: protection.sh [OPTION...]
exec openstack --os-cloud siteB application protection show \
    --application shop --max-age 93600 "$@"
