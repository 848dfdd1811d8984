# `make` lists the targets. Every target sets up what it needs by itself.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
SOURCES := kanal services
PACKAGES := kanal $(foreach service,ingest-email ingest-sms normalizer router tracker all-in-one,services/$(service)/kanal_$(subst -,_,$(service)))
SERVERS := $(PY) -m tests.servers.install
PEERS := faust quix

.PHONY: help run demo cluster test test-quick compose-test check format schemas docs bench soak fuzz size requirements clean
.DEFAULT_GOAL := help

help:  ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/run  ## set everything up and run Kanal here: one process, no other server (Ctrl-C stops it)
	@$(VENV)/bin/kanal up

demo: $(VENV)/run  ## the same with simulated citizens and an agency that works their reports off
	@$(VENV)/bin/kanal demo

cluster: $(VENV)/dev  ## Kafka mode here: Kafka, PostgreSQL, a process per service, nginx (Ctrl-C stops it)
	@$(PY) -m tests.servers.cluster

test: $(VENV)/dev  ## every test, real servers included
	@$(SERVERS)
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --ignore tests/compose --ignore tests/pipeline/test_three_brokers.py

compose-test: $(VENV)/dev  ## docker compose up, unchanged, used and killed; needs a dockerd (first time 10 minutes)
	@$(PY) -m tests.compose.images
	@$(PY) -m pytest -s --timeout 1800 tests/compose

test-quick: $(VENV)/dev  ## the tests that need no servers
	@$(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not servers"

check: $(VENV)/dev  ## format, lint, types, import rules, generated files
	@$(VENV)/bin/ruff format --check $(SOURCES) tests bench docs schemas
	@$(VENV)/bin/ruff check $(SOURCES) tests bench docs schemas
	@$(VENV)/bin/mypy $(PACKAGES)
	@$(VENV)/bin/mypy tests/servers
	@$(VENV)/bin/lint-imports --no-cache
	@$(PY) schemas/generate.py --check
	@$(PY) docs/generate.py --check

format: $(VENV)/dev  ## format the code
	@$(VENV)/bin/ruff check --fix-only -q $(SOURCES) tests bench docs schemas
	@$(VENV)/bin/ruff format $(SOURCES) tests bench docs schemas

schemas: $(VENV)/dev  ## write schemas/ anew from the events
	@$(PY) schemas/generate.py

docs: $(VENV)/dev  ## write docs/reference/ anew from the code
	@$(PY) docs/generate.py

bench: $(VENV)/dev $(PEERS:%=$(VENV)/peers/%/done)  ## measure on this machine; prints a table (BENCH="--only peers", "--write": into docs/reference)
	@$(SERVERS) --only kafka,postgres,nginx
	@$(PY) -m bench $(BENCH)

# Frameworks that `make bench` compares with; each has needs of its own, which must not touch Kanal's.
$(VENV)/peers/%/done: bench/peers/requirements-%.txt $(PY)
	@echo "installing $* into $(@D) …"
	@.ci/python-venv "$(PYTHON)" $(@D)
	@$(@D)/bin/python -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r $<
	@touch $@

soak: $(VENV)/dev  ## three brokers, fuzzing with new inputs, every fault with 30 seeds: takes hours (SOAK="--minutes 60" for less)
	@$(SERVERS)
	@KANAL_SOAK=1 $(PY) -m pytest tests/pipeline/test_three_brokers.py tests/hostile --timeout 36000
	@$(PY) -m tests.faults.soak $(SOAK)

fuzz: $(VENV)/fuzz  ## hostile bytes for one target until it fails: make fuzz TARGET=mail SECONDS=600
	@$(PY) -m tests.hostile.fuzz $(TARGET) -max_total_time=$(SECONDS)
TARGET := mail
SECONDS := 0

size: $(VENV)/dev  ## lines per folder and the longest functions
	@$(PY) -m bench.size

requirements: $(VENV)/dev  ## compile the hash-locked requirements anew
	@for name in build dev fuzz; do $(VENV)/bin/pip-compile $(COMPILE) -o requirements-$$name.txt requirements-$$name.in; done
	@for name in $(PEERS); do $(VENV)/bin/pip-compile $(COMPILE) -o bench/peers/requirements-$$name.txt bench/peers/requirements-$$name.in; done
	@$(VENV)/bin/pip-compile $(COMPILE) -o requirements.txt pyproject.toml
COMPILE := -q --generate-hashes --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-options --allow-unsafe

clean:  ## remove what the targets have made, but no data
	rm -rf $(VENV) .servers .pytest_cache .mypy_cache .ruff_cache .hypothesis .fuzz dist

$(PY):
	@.ci/python-venv "$(PYTHON)" $(VENV)

# The first time this takes half a minute.
$(VENV)/run: $(PY) requirements.txt requirements-build.txt pyproject.toml
	@echo "installing into $(VENV) …"
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements.txt -r requirements-build.txt
	@$(PY) -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/dev: $(VENV)/run requirements-dev.txt
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.txt
	@touch $@

$(VENV)/fuzz: $(VENV)/dev requirements-fuzz.txt
	@$(PY) -m pip install -q --disable-pip-version-check --require-hashes --no-deps -r requirements-fuzz.txt
	@touch $@
