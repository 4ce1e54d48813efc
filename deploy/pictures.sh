#!/usr/bin/env bash
# Takes the pictures of the README again, after the look of a page was meant to change. Needs Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p docs/pictures
PYTHONPATH=$PWD TURNLOG_PICTURES=$PWD/docs/pictures .venv/bin/python -m pytest -q tests/system/test_pages.py -k picture
ls -l docs/pictures >&2
