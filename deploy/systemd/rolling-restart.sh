#!/bin/sh
# Brings database and static files up to the code, and then restarts all of aily's processes on this
# machine, one after another; a web process when the one before answers again. As root.
set -eu
echo "preparing ..."
systemctl reload aily-prepare.service
for unit in $(systemctl list-units --plain --no-legend --state=active,activating \
    'aily-web@*' 'aily-worker@*' aily-scheduler.service aily-exporter.service | awk '{print $1}'); do
    echo "restarting $unit ..."
    systemctl restart "$unit"
done
