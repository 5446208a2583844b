# What everything is started with; `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help run test slow quick screenshots check check-lint check-types check-layers check-web check-migrations \
  check-deployment fix catalogues lock fuzz bench chaos hosts systemd browser servers .system clean

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
# Only what differs from the defaults: a deployment's settings, judged by check --deploy.
DEPLOYED := DEBUG=false HTTPS=true ALLOWED_HOSTS=aily.example STAFF_TOTP_REQUIRED=true \
  OIDC_ISSUER=https://id.aily.example OIDC_CLIENT_ID=aily
# Model changes are compared with the migration files; that no database answers is no news.
OFFLINE := LOG_LEVEL=CRITICAL DATABASE_POOL_TIMEOUT_SECONDS=0.1
# Locked versions with their hashes, whose dependencies are locked as well: nothing is resolved.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps --require-hashes
UV := UV_DEFAULT_INDEX="$${PIP_INDEX_URL:-https://pypi.org/simple}" UV_HTTP_TIMEOUT=20 UV_HTTP_RETRIES=1 \
  $(BIN)/uv
# For every Python and machine that aily runs on; without the address of the index that answered.
COMPILE := $(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 \
  --generate-hashes --no-emit-index-url --custom-compile-command "make lock"
# Compiled modules are kept: each of many processes would compile them anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# No shell in between: make passes SIGTERM on to the launcher itself, and waits for it.
run: .venv/.runtime ## start everything on PORT (8000) until Ctrl-C
	@$(BIN)/python -m aily.launcher

# Side by side: the tests wait a good part of their time, so five processes keep two cores busy. What
# check has to say stands at the end.
test: ## check and all tests
	@$(MAKE) --no-print-directory --jobs 2 .venv/.tests .system
	@mkdir -p var && $(MAKE) --no-print-directory check > var/check.log 2>&1 & checking=$$!; \
	  $(BIN)/python -m pytest --numprocesses 5 --dist loadfile --no-loadscope-reorder $(ARGS); \
	  tested=$$?; wait $$checking; checked=$$?; cat var/check.log; \
	  exit $$((tested || checked))

# Two at a time: some fill the memory or the CPU by themselves.
slow: ## what takes too long for `make test`: hours; ARGS=tests/clients and the like
	@$(MAKE) --no-print-directory --jobs 2 .venv/.tests .system
	@$(BIN)/python -m pytest -m slow --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

quick: .venv/.tests ## the tests that a change touches, and why each; ARGS="--base COMMIT -x" and the like
	@$(BIN)/python -m tests.quick $(ARGS)

# All at once, each with its output in one piece; all that fail are named.
check: .venv/.tests ## lint, types, layers, migrations, deployment settings
	@$(MAKE) --no-print-directory --jobs 4 --keep-going --output-sync=target \
	  check-lint check-types check-layers check-web check-migrations check-deployment

check-lint:
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

check-types:
	@$(BIN)/mypy

check-layers:
	@$(BIN)/lint-imports

check-web:
	@tests/js/check.sh

check-migrations:
	@$(OFFLINE) $(BIN)/python -W ignore::RuntimeWarning manage.py makemigrations --check --dry-run

check-deployment:
	@$(DEPLOYED) $(BIN)/python manage.py check --deploy --fail-level WARNING

fix: .venv/.tests ## format, and repair what can be repaired
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@tests/js/check.sh --fix

# The tools' lock has everything; the others take their versions from it.
lock: .venv/.tests ## write the lock files anew after a change of requirements; ARGS=--upgrade: newest versions
	@$(COMPILE) $(ARGS) --output-file tests/requirements.lock tests/requirements.txt
	@for name in requirements deploy/requirements-otel; do \
	  $(COMPILE) --no-annotate --upgrade --constraints tests/requirements.lock \
	    --output-file $$name.lock $$name.txt || exit; done

catalogues: .venv/.tests ## bring the translations up to date and compile them
	@$(BIN)/python -m tests.catalogues

fuzz: .venv/.tests ## send the REST API what its document allows and forbids; some minutes
	@FUZZ_EXAMPLES=50 $(BIN)/python -m pytest tests/chat/api/test_fuzz.py --timeout 1800 $(ARGS)

bench: .venv/.tests ## measure; ARGS="..." goes to the load generator
	@$(BIN)/python -m tests.load.bench $(ARGS)

chaos: .venv/.tests ## kill everything at random under load, cut the network; about 10 minutes; then the proof
	@$(BIN)/python -m tests.chaos.run $(ARGS)
	@$(BIN)/python -m tests.chaos.cuts
	@$(BIN)/python -m tests.chaos.failover

hosts: .venv/.tests ## cut off one host after another, each a network namespace; as root, about 3 minutes
	@$(BIN)/python -m tests.chaos.hosts $(ARGS)

systemd: .venv/.tests ## install and break the units of deploy/ in a Debian of their own; as root, some minutes
	@$(BIN)/python -m tests.deploy.on_systemd

browser: ## install the Chromium that the browser tests drive, as root on Debian
	@tests/install_browser.sh

# One after the other: apt-get serves one at a time. Meanwhile pip and uv load packages.
.system:
	@tests/install_browser.sh
	@tests/install_servers.sh

servers: ## install nginx, PgBouncer and Prometheus for the tests of deploy/, as root on Debian
	@tests/install_servers.sh

screenshots: .venv/.tests browser ## take the pictures of README.md and docs/tables.md anew
	@$(BIN)/python -m pytest -q tests/e2e/web/screenshots.py

clean: ## remove the virtual environment and all data in var/
	rm -rf .venv var .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

.venv/bin/python:
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo "aily needs Python 3.11 or newer; name one with PYTHON=..." >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "Python's venv module is missing (Debian: apt install python3-venv)" >&2; exit 1; }
	@"$(PYTHON)" -m venv .venv

.venv/.runtime: requirements.lock | .venv/bin/python
	@echo "installing packages (once, about a minute) ..."
	@$(INSTALL) -r requirements.lock
	@touch $@

# The tools' lock has everything, also what is needed to run. uv takes half of pip's CPU for it; it
# knows no pip.conf, so where it finds no index, pip does the rest.
.venv/.tests: tests/requirements.lock requirements.lock | .venv/bin/python
	@echo "installing packages and test tools (once) ..."
	@sed -n '/^uv==/,/[^\\]$$/p' tests/requirements.lock > .venv/uv.txt
	@$(INSTALL) -r .venv/uv.txt
	@$(UV) pip install --no-config --quiet --python $(BIN)/python --no-deps --require-hashes \
	  --compile-bytecode -r tests/requirements.lock || $(INSTALL) -r tests/requirements.lock
	@touch .venv/.runtime $@
