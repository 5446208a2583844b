#!/bin/sh
# Becomes one process of aily: web, worker, scheduler, exporter or simulator; `prepare` migrates and
# collects static files; anything else is a manage.py command. Containers and systemd units start
# this.
set -eu
cd "$(dirname "$0")/.."
if [ -d .venv ]; then
    PATH="$PWD/.venv/bin:$PATH"
fi
export PYTHONUNBUFFERED=1 DJANGO_SETTINGS_MODULE=aily.settings

refuse() {
    echo "aily: $1" >&2
    exit 2
}

# Name, unit and value of a variable.
require_number() {
    case "$3" in
        *[!0-9]*) refuse "$1 must be a number of $2, not '$3'" ;;
    esac
}

# Twisted separates the parts of an address by colons: those of an IPv6 address are escaped.
escaped_host() {
    echo "${HOST:-127.0.0.1}" | sed 's/[][]//g; s/:/\\:/g'
}

case "${1:-}" in
    web)
        module=
        case "${WEB_SERVER:-daphne}" in
            daphne) ;;
            uvicorn) module=aily.web.servers.uvicorn ;;
            *) refuse "WEB_SERVER must be one of daphne, uvicorn, not '$WEB_SERVER'" ;;
        esac
        if [ -n "$module" ]; then
            exec python -m "$module" --host "${HOST:-127.0.0.1}" --port "${PORT:-8000}"
        fi
        limit="${WEBSOCKET_FRAME_MAX_BYTES:-262144}"
        exec python -m aily.web.servers.daphne --verbosity 0 --no-server-name \
            -e "tcp:${PORT:-8000}:interface=$(escaped_host):backlog=4096" \
            --websocket-max-message-size "$limit" --websocket-max-frame-size "$limit" \
            aily.asgi:application
        ;;
    worker)
        # How often, in milliseconds, an idle worker polls for Dramatiq's messages.
        export dramatiq_worker_timeout="${dramatiq_worker_timeout:-500}"
        require_number dramatiq_worker_timeout milliseconds "$dramatiq_worker_timeout"
        # Dramatiq waits longer than the calls do, and the process manager longer still.
        require_number WORKER_GRACE_SECONDS seconds "${WORKER_GRACE_SECONDS:-25}"
        timeout_ms="$(((${WORKER_GRACE_SECONDS:-25} + 10) * 1000))"
        exec python -m dramatiq aily.worker --processes 1 --threads 2 \
            --worker-shutdown-timeout "$timeout_ms"
        ;;
    scheduler)
        exec python manage.py crontab --no-heartbeat
        ;;
    exporter)
        exec python -m aily.exporter
        ;;
    simulator)
        shift
        exec python -m aily.simulator "$@"
        ;;
    prepare)
        exec python -m aily.launcher.prepare --without-demo
        ;;
    "")
        echo "usage: $0 web | worker | scheduler | exporter | simulator | prepare | <manage.py command>" >&2
        exit 2
        ;;
    *)
        exec python manage.py "$@"
        ;;
esac
