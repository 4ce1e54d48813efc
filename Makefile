# `make demo` and `make test` need nothing done before them: whichever runs first makes .venv.
.DEFAULT_GOAL := help
.PHONY: help demo test soak bench bench-full check lint lock clean env env-test

PYTHON ?=
JOBS ?= 3
export PYTHON

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env  ## make simulated calls and show what was measured
	@.venv/bin/turnlog demo

# Most tests wait for servers, so more of them run at once than there are cores. Who shares servers: tests/conftest.py.
test: env-test  ## all tests, JOBS=3 at a time
	@.venv/bin/python -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder

soak: env-test  ## every fault ten times with other seeds, 20 to 40 minutes; goes on where it was stopped
	@.venv/bin/python -m tests.fault.soak

bench: env-test  ## every measurement, on a quiet machine, 20 minutes; goes on where it was stopped; writes docs/benchmarks.md
	@.venv/bin/python -m bench

bench-full: env-test  ## the same on Apache Kafka and with 50 million spans, two hours; writes docs/benchmarks-full.md
	@.venv/bin/python -m bench --full --state .bench-full.json

check: lint test  ## what CI runs: lint, types, imports, schema, tests, wheel
	@deploy/check_wheel.sh

lint: env-test
	@deploy/lint.sh

lock:  ## resolve deploy/lock/*.txt again (needs uv; add UPGRADE=--upgrade for newer releases)
	@deploy/lock.sh $(UPGRADE)

clean:  ## remove .venv, caches and built files; recorded calls stay in the state folder
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

env:
	@deploy/setup.sh runtime

env-test: env
	@deploy/setup.sh test
