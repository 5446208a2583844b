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
        case "$dramatiq_worker_timeout" in
            *[!0-9]*) refuse "dramatiq_worker_timeout must be a number of milliseconds, not '$dramatiq_worker_timeout'" ;;
        esac
        # Dramatiq waits longer than the calls do, and the process manager longer still.
        case "${WORKER_GRACE_SECONDS:-25}" in
            *[!0-9]*) refuse "WORKER_GRACE_SECONDS must be a number of seconds, not '$WORKER_GRACE_SECONDS'" ;;
        esac
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
