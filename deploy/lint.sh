#!/usr/bin/env bash
# Everything that judges the code without running it. Stops at the first that finds a fault.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly BIN=.venv/bin SCHEMA=runtime/events/schema.json

say() { printf 'turnlog: %s\n' "$*" >&2; }

say "ruff"
"$BIN/python" -m ruff check .
"$BIN/python" -m ruff format --check .
say "mypy"
"$BIN/python" -m mypy
say "imports"
"$BIN/python" -c 'from importlinter.cli import lint_imports_command as check; check(["--no-logo"])'
say "schema"
"$BIN/python" -m runtime.events.schema | diff -u "$SCHEMA" - >&2 || {
    say "$SCHEMA is stale. Write it again: .venv/bin/python -m runtime.events.schema > $SCHEMA"
    exit 1
}
