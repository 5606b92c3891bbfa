#!/bin/bash -e
# Snapshots of three volumes, while the servers db, app and web are quiesced.
# Usage: quiesce-and-snapshot.sh NUMBER
thaw() { openstack server unquiesce --wait web app db; }
trap thaw EXIT                       # even if a command below fails
openstack server quiesce --wait --unquiesce-after 120 db app web
for server in db app web; do
    openstack volume snapshot create --force --volume "$server-disk" \
        "$server-$1"
done
end=$((SECONDS + 60))                # for all three, before the deadline
for server in db app web; do
    until openstack volume snapshot show -f value -c status "$server-$1" |
            grep -qx available; do
        [ $SECONDS -lt $end ]
        sleep 1
    done
done
for server in db app web; do
    openstack server show -f value -c status "$server" | grep -qx QUIESCED
done
