#!/bin/sh
# Formatting, lint and types (JSDoc) of the web app's modules, by Deno from its wheel: no Node, no npm.
# `check.sh --fix` formats them.
set -eu
cd "$(dirname "$0")/../.."
# Nothing is downloaded: every import is a file here.
export DENO_DIR="$PWD/var/deno" DENO_NO_UPDATE_CHECK=1
deno() {
    command=$1
    shift
    .venv/bin/deno "$command" --quiet --config tests/js/deno.json "$@"
}
if [ "${1:-}" = --fix ]; then
    deno fmt static/js tests/js
    exit
fi
deno fmt --check static/js tests/js
deno lint static/js tests/js
deno check --no-remote static/js
