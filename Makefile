# Everything a person does with this checkout; `make` lists it. Nothing here needs root, except that
# `make test` may ask apt for MariaDB, PostgreSQL, etcd, Redis and Prometheus on a machine that lacks them, and Go
# to build Jaeger.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
# The tests start some hundred programs: compiled once, each starts a third sooner.
unexport PYTHONDONTWRITEBYTECODE

VENV ?= .venv
BIN := $(VENV)/bin
SEED ?=
# Any Python from 3.11 on; `make PYTHON=/path/to/python3.12 install` chooses.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11 python; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; done)

# A virtual environment knows its own path, so one that was moved or copied is made anew: the stamps carry the path.
HERE := $(shell printf %s '$(CURDIR)' | cksum | cut -d' ' -f1)
VENV_STAMP := $(VENV)/.made-$(HERE)
RUN_STAMP := $(VENV)/.installed-$(HERE)
DEV_STAMP := $(VENV)/.installed-dev-$(HERE)
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --constraint constraints.txt

SOURCES := $(wildcard coordinator branches examples bench tests)
TYPED := $(wildcard coordinator branches examples) tests/support
PYTEST := $(BIN)/python -m pytest
# Two processes more than there are cores, a file at a time: each has throw-away servers of its own. `make PARALLEL= test` runs them in turn.
PARALLEL ?= --numprocesses=auto --dist=loadfile --no-loadscope-reorder
SEED_OPTION := $(if $(SEED),--seed=$(SEED))

.PHONY: help
help:  ## show this list
	@awk -F ':.*##' '/^[a-z][a-z -]*:.*##/ { printf "  make %-30s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: install
install: $(RUN_STAMP)  ## make .venv with the program in it: .venv/bin/dtm
	@:

.PHONY: install-dev
install-dev: $(DEV_STAMP)  ## the same, with the tools for lint and test
	@:

$(VENV_STAMP):
	@if [ -z "$(PYTHON)" ]; then echo "No Python 3.11 or newer found. Install one, or: make PYTHON=/path/to/python3" >&2; exit 1; fi
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv --clear $(VENV) || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt install python3-venv" >&2; exit 1; }
	@touch $@

$(RUN_STAMP): pyproject.toml constraints.txt | $(VENV_STAMP)
	@echo "Installing dtm-coordinator and what it needs into $(VENV) (about half a minute) ..."
	@$(PIP) --editable '.[server]'
	@touch $@
	@echo "Ready: $(BIN)/dtm"

$(DEV_STAMP): pyproject.toml constraints.txt | $(VENV_STAMP)
	@echo "Installing dtm-coordinator and its development tools into $(VENV) (about a minute) ..."
	@$(PIP) --editable '.[server,dev]'
	@touch $(RUN_STAMP) $@
	@echo "Ready: $(BIN)/dtm"

.PHONY: demo
demo: $(RUN_STAMP)  ## register one user, roll one back, and show what happened (SQLite, no servers); KEEP=1 keeps it
	@$(BIN)/python -m examples.register_demo

.PHONY: dev
dev: $(RUN_STAMP)  ## a coordinator to try out, with one of every kind of stuck in it, until Ctrl-C
	@$(BIN)/dtm dev

.PHONY: format
format: $(DEV_STAMP)  ## repair formatting and what ruff can repair
	@$(BIN)/ruff check --quiet --fix-only $(SOURCES)
	@$(BIN)/ruff format $(SOURCES)

.PHONY: lint
lint: $(DEV_STAMP)  ## look only: formatting, ruff, types, who imports whom, generated code, versions that must agree
	@$(BIN)/ruff format --check $(SOURCES)
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/mypy $(TYPED)
	@$(BIN)/lint-imports --no-cache --no-logo
	@$(BIN)/python -m coordinator.proto.generate --check
	@$(BIN)/python -m tests.support.versions
	@$(BIN)/python -m tests.support.client_reference --check

.PHONY: servers
servers: $(DEV_STAMP)
	@$(BIN)/python -m tests.support.install_servers

.PHONY: test
test: $(DEV_STAMP) servers  ## every test; gets MariaDB, PostgreSQL, etcd and Redis first where it can
	@$(PYTEST) $(PARALLEL) $(SEED_OPTION)

.PHONY: test-unit test-simulation
test-unit test-simulation: test-%: $(DEV_STAMP)  ## only tests/<folder>: no server needed
	@$(PYTEST) $(SEED_OPTION) tests/$*

.PHONY: test-integration test-interop test-chaos test-docs test-environments test-browser
test-integration test-interop test-chaos test-docs test-environments test-browser: test-%: $(DEV_STAMP) servers  ## only tests/<folder>
	@$(PYTEST) $(SEED_OPTION) tests/$*

.PHONY: compatibility
compatibility: $(DEV_STAMP) servers  ## run other people's clients, and write docs/compatibility.md from it
	@WRITE_COMPATIBILITY=1 $(PYTEST) tests/interop

.PHONY: simulate
simulate: $(DEV_STAMP)  ## random histories in virtual time; SEED=7 repeats one
	@$(PYTEST) $(SEED_OPTION) tests/simulation

.PHONY: chaos
chaos: $(DEV_STAMP) servers  ## kill -9 and servers that go away, for real; SEED=7 repeats one
	@$(PYTEST) $(SEED_OPTION) tests/chaos

.PHONY: bench
bench: $(DEV_STAMP)  ## throughput and CPU per transaction, beside other servers; see bench/README.md
	@$(BIN)/python -m bench $(BENCH)

.PHONY: screenshots
screenshots: $(DEV_STAMP) servers  ## pictures of every page of the console into docs/pictures/
	@$(BIN)/python -m tests.browser.screenshots

.PHONY: reference
reference: $(DEV_STAMP)  ## write docs/client/reference.md from the docstrings
	@$(BIN)/python -m tests.support.client_reference

.PHONY: proto
proto: $(DEV_STAMP)  ## generate Python code and descriptor sets from the .proto files
	@$(BIN)/python -m coordinator.proto.generate

.PHONY: constraints
constraints:  ## renew constraints.txt with the newest versions that pyproject.toml allows
	@$(PYTHON) -m tests.support.renew_constraints

.PHONY: clean
clean:  ## remove .venv and what the tools left
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
