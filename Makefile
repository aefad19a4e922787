# The targets a person and the continuous integration use alike. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Bytes into the compiled modules and through the front door: what the checked builds run.
CORE_TESTS = $(wildcard tests/unit tests/protocol tests/fuzz)
FUZZ_SECONDS ?= 60
# Most tests wait for a broker or a client most of their time.
TEST_PROCESSES ?= 3
CRASH_ROUNDS ?= 50
SOAK_SECONDS ?= 600
BUILD = $(BIN)/python setup.py -q build_ext --inplace
BUILD_WITH_BENCH = FLOWMQ_BUILD=release FLOWMQ_BENCH=1 $(BUILD)
PYTEST = $(BIN)/python -m pytest -q
PYTHON_FILES = setup.py flowmq tests packaging $(wildcard bench)
CYTHON_FILES = $(wildcard flowmq/*.pyx flowmq/*.pxd bench/*.pyx)

.DEFAULT_GOAL := help
.PHONY: help build run test check bench bench-compare bench-peers instructions debug asan cover fuzz crash soak interop compare wheel clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | awk -F '|' '{ printf "make %-13s %s\n", $$1, $$2 }'

build: $(READY) ## compile the extensions into the tree
	FLOWMQ_BUILD=release $(BUILD)

run: build ## start a broker: AMQP on port 5672, data in ./data
	exec $(BIN)/python -m flowmq serve

test: $(READY) ## run all tests, TEST_PROCESSES=3 at a time; ARGS="..." for pytest
	$(BUILD_WITH_BENCH)
	$(PYTEST) -n $(TEST_PROCESSES) --dist loadfile $(ARGS)

check: $(READY) ## formatting, lint, types, layers
	$(BIN)/ruff format --check $(PYTHON_FILES)
	$(BIN)/ruff check $(PYTHON_FILES)
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint $(CYTHON_FILES)
	$(BIN)/mypy
	$(PYTEST) tests/test_architecture.py

bench: $(READY) ## measure this broker; PEER=amqp://... measures another one beside it; ARGS="..." for the rest
	$(BUILD_WITH_BENCH)
	$(BIN)/python -m bench $(if $(PEER),--peer '$(PEER)') $(ARGS)

bench-compare: $(READY) ## two runs side by side, written by `make bench ARGS="--json FILE"`: A=FILE B=FILE
	$(BIN)/python -m bench.compare '$(A)' '$(B)'

bench-peers: $(READY) ## measure this broker and Debian's rabbitmq-server in turn, and PEER=amqp://... if it is given
	$(BUILD_WITH_BENCH)
	$(BIN)/python -m bench --rabbitmq $(if $(PEER),--peer '$(PEER)') $(ARGS)

instructions: $(READY) ## count the instructions of each step of a message anew, for the test that watches them
	$(BUILD_WITH_BENCH)
	$(BIN)/python -m bench.instructions --renew

debug: $(READY) ## core tests with index checks, asserts and counters; warnings are errors
	FLOWMQ_BUILD=debug $(BUILD)
	$(PYTEST) $(CORE_TESTS) tests/crash/test_failpoints.py

asan: $(READY) ## core tests under the address and undefined-behaviour sanitizers
	FLOWMQ_BUILD=asan $(BUILD)
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc $(PYTEST) --timeout 300 $(CORE_TESTS)

cover: $(READY) ## core tests with line coverage, .pyx files included
	FLOWMQ_BUILD=cover $(BUILD)
	rm -f .coverage .coverage.*
	$(BIN)/coverage run -m pytest -q --timeout 300 $(CORE_TESTS)
	$(BIN)/coverage combine -q
	$(BIN)/coverage report

fuzz: build ## broken sessions, then broken octets into each parser, for FUZZ_SECONDS=60 each
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(ARGS)
	$(BIN)/python -m tests.fuzz.http --seconds $(FUZZ_SECONDS) $(ARGS)
	$(BIN)/python -m tests.fuzz.inside --seconds $(FUZZ_SECONDS)

crash: build ## kill the broker CRASH_ROUNDS=50 times, then shovels and brokers for a minute; look for what is forgotten
	$(BIN)/python -m tests.crash --rounds $(CRASH_ROUNDS) $(ARGS)
	$(BIN)/python -m tests.crash.shovels

soak: build ## clients of all kinds that come, go and are killed for SOAK_SECONDS=600; memory must stay flat
	$(BIN)/python -m tests.soak --seconds $(SOAK_SECONDS) $(ARGS)

interop: build ## every client library, in its own language; ARGS="--only java,go" for some
	$(BIN)/python -m tests.interop $(ARGS)

compare: build ## ask RabbitMQ's HTTP API anew what it answers, and compare FlowMQ's with that
	$(BIN)/python -m tests.management.comparison
	$(PYTEST) tests/management/test_comparison.py

wheel: $(READY) ## build a wheel, install it elsewhere, try it there
	rm -rf dist
	FLOWMQ_BUILD=release $(BIN)/python -m pip wheel -q --no-deps --wheel-dir dist .
	$(BIN)/python tests/smoke/wheel.py dist/flowmq-*.whl

clean: ## remove everything that was built, the virtual environment included
	rm -rf $(VENV) .interop build dist flowmq.egg-info .coverage .coverage.* .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f flowmq/*.so flowmq/_*.c bench/*.so bench/_*.c
	find flowmq tests bench -name __pycache__ -prune -exec rm -rf {} +

# The tools of building and testing, and FlowMQ itself as an editable installation.
$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "FlowMQ needs Python 3.11 or newer as $(PYTHON); name one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
	  { echo "FlowMQ needs Python's venv module: install your system's package of it (Debian: python3-venv)" >&2; exit 1; }
	@command -v $${CC:-gcc} >/dev/null || \
	  { echo "FlowMQ needs a C compiler: install gcc (Debian: apt-get install gcc libc6-dev python3-dev)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check --upgrade 'setuptools>=77' wheel 'Cython>=3.1,<4'
	FLOWMQ_BUILD=release $(BIN)/python -m pip install -q --disable-pip-version-check --no-build-isolation \
	  -e '.[test,check]'
	touch $@
