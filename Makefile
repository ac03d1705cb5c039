# Everything is installed into .venv and nothing outside it. A bare `make` explains the targets.

PYTHON ?= python3.11
# Test files that run at a time: one more than two cores, for one of them often waits for another process.
JOBS ?= 3
VENV := .venv
BIN := $(VENV)/bin
DEMO_HOME := var/demo
# The demo has a ledger of its own, also where the environment or .env names another.
DEMO := POINTS_HOME=$(DEMO_HOME) POINTS_TRANSFERS= POINTS_DATABASE_URL= POINTS_PROGRAMME_NAME="Demo programme"
# The home that `make dev` works in: what the environment or .env says, else the demo's.
DEV_HOME := $(or $(POINTS_HOME),$(shell sed -n 's/^POINTS_HOME=//p' .env 2>/dev/null))
RESOLVE := uv pip compile pyproject.toml --python-version 3.11 --universal --no-strip-extras --generate-hashes \
	--no-emit-index-url --no-annotate --custom-compile-command "make lock"
# How many transfers `make bench` measures with.
SIZE ?= 10m
# Where its page listens.
DAGSTER_PORT ?= 3000
DAGSTER_HOME ?= $(abspath $(or $(DEV_HOME),$(DEMO_HOME)))/dagster

.PHONY: help setup setup-dev report test lint dev bench lock required-tests spark

help:  ## show this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/installed  ## install what runs it into .venv; does nothing where it is there

$(VENV)/installed: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed; name it with: make PYTHON=/path/to/python3.11 setup"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

setup-dev: $(VENV)/installed-dev  ## add what `make test` and `make lint` need

$(VENV)/installed-dev: $(VENV)/installed requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-dev.lock
	@touch $@

report: setup  ## make the demo programme, close its months, show the newest report and where its files are
	@$(DEMO) $(BIN)/points demo
	@$(DEMO) $(BIN)/points close --through 2026-10 --accept-quarantined "Bad rows of the demo stay out"
	@$(DEMO) $(BIN)/points report 2026-10

test: setup-dev  ## run the tests; slow ones only in CI, long ones only with ALL=1
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder \
		$(if $(ALL),,-m "not long$(if $(CI),, and not slow)") $(TESTS)

lint: setup-dev  ## check Python and SQL
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/sqlfluff lint dbt_project tests/data

dev: setup  ## start Dagster on localhost, over the demo unless POINTS_HOME says otherwise
	@$(if $(DEV_HOME),,$(DEMO) $(BIN)/points demo)
	@umask 077 && mkdir -p $(DAGSTER_HOME) && cp orchestration/dagster.yaml $(DAGSTER_HOME)/dagster.yaml
	@umask 077; $(BIN)/python -m orchestration.dbt.manifest
	@umask 077; export DAGSTER_HOME=$(DAGSTER_HOME) $(if $(DEV_HOME),,$(DEMO)); \
	$(BIN)/dagster-daemon run & trap "kill $$! 2>/dev/null; wait" EXIT INT TERM; \
	$(BIN)/python -m orchestration.dagster_page --port $(DAGSTER_PORT)

bench: setup-dev  ## measure against a specialist's DuckDB script in the same run; SIZE=small, 1m, 10m or 100m
	$(BIN)/python -m benchmarks --size $(SIZE)

required-tests: setup  ## rewrite the list of tests that no build may miss (a reviewed change)
	$(BIN)/dbt parse --quiet
	$(BIN)/python -m orchestration.required_tests

spark: setup  ## add the optional dependencies for the Spark target
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement requirements-spark.lock

lock:  ## resolve the dependencies anew into requirements.lock, requirements-dev.lock and requirements-spark.lock (needs uv)
	$(RESOLVE) --extra build --output-file requirements.lock
	$(RESOLVE) --extra build --extra dev --constraint requirements.lock --output-file requirements-dev.lock
	$(RESOLVE) --extra spark --constraint requirements-dev.lock --output-file requirements-spark.lock
