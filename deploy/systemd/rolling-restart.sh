#!/bin/sh
# Restarts all of aily's processes on this machine, one after another, each after the one before
# answers again. As root, after `start.sh prepare` of the new version (see README.md).
set -eu
for unit in $(systemctl list-units --plain --no-legend --state=active 'aily-web@*' 'aily-worker@*' \
    aily-scheduler.service aily-exporter.service | awk '{print $1}'); do
    echo "restarting $unit ..."
    systemctl restart "$unit"
done
