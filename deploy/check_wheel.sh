#!/usr/bin/env bash
# Proves that the wheel works where the repository is not: builds it, installs it with the runtime lock into a new
# environment, and runs the demo from another folder.
#
# The bytecode of 110 packages is left to be made when it is imported: it saves a third of the installation.
set -euo pipefail
cd "$(dirname "$0")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1
readonly REPOSITORY=$PWD
ROOM=$(mktemp -d "${TMPDIR:-/tmp}/turnlog-wheel.XXXXXX")
readonly ROOM PY="$ROOM/venv/bin/python"
trap 'rm -rf "$ROOM"' EXIT

say() { printf 'turnlog: wheel: %s\n' "$*" >&2; }

say "building"
.venv/bin/python -m build --wheel --no-isolation --outdir "$ROOM/dist" . >"$ROOM/build.log" 2>&1 || {
    cat "$ROOM/build.log" >&2
    exit 1
}
wheels=("$ROOM"/dist/turnlog-*.whl)
say "installing ${wheels[0]##*/} and deploy/lock/runtime.txt (about 370 MB, a minute)"
.venv/bin/python -m venv "$ROOM/venv"
"$PY" -m pip install --quiet --no-compile --require-hashes -r deploy/lock/runtime.txt
"$PY" -m pip install --quiet --no-compile --no-deps "${wheels[0]}"

say "what it asks for is what the lock holds"
"$PY" -m pip check >&2
# Nothing may be left to download: without an index this fails for a requirement that the lock does not meet.
env -u PIP_FIND_LINKS "$PY" -m pip install --quiet --dry-run --no-index "turnlog[embedded]"

say "the demo, from another folder"
mkdir "$ROOM/elsewhere" "$ROOM/home"
cd "$ROOM/elsewhere"
turnlog() { env -u PYTHONPATH HOME="$ROOM/home" XDG_STATE_HOME="$ROOM/home" "$ROOM/venv/bin/turnlog" "$@"; }
env -u PYTHONPATH "$PY" - "$REPOSITORY" <<'PYTHON'
import pathlib, sys
import alerts, deploy, experiments, grafana, ingest, runtime
repository = pathlib.Path(sys.argv[1])
here = [m.__file__ for m in (alerts, deploy, experiments, grafana, ingest, runtime)
        if repository in pathlib.Path(m.__file__).parents]
sys.exit(f"imported from the repository, not from the wheel: {here}" if here else 0)
PYTHON
turnlog --help >/dev/null
turnlog demo --calls 4 --json >"$ROOM/demo.json"
"$PY" -c 'import json, sys; sys.exit(json.load(open(sys.argv[1]))["page"] is None)' "$ROOM/demo.json" || {
    say "the demo wrote no JSON to stdout, or no page:"
    cat "$ROOM/demo.json" >&2
    exit 1
}
say "good"
