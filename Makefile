# `make demo` and `make test` need nothing done before them: whichever runs first makes .venv.
.DEFAULT_GOAL := help
.PHONY: help demo test check lint lock clean env env-test

PYTHON ?=
export PYTHON

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: env  ## make simulated calls and show what was measured
	@.venv/bin/turnlog demo

test: env-test  ## all tests
	@.venv/bin/python -m pytest

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
