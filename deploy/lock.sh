#!/usr/bin/env bash
# Resolves deploy/lock/*.txt for every Python and platform we support. Needs uv; users of the locks need only pip.
# Versions that are locked stay, unless --upgrade or --upgrade-package NAME says otherwise.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v uv >/dev/null || {
    echo "turnlog: uv is needed to make the locks: python3 -m pip install uv" >&2
    exit 1
}

compile() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
        --extra embedded --group setup "$@" pyproject.toml
}

compile --output-file deploy/lock/runtime.txt "$@"
# The runtime's versions constrain the tests': what is tested is what runs.
compile --output-file deploy/lock/test.txt --group test --constraint deploy/lock/runtime.txt "$@"
