#!/usr/bin/env bash
# Makes an environment for each framework that the door is tested with: `.frameworks/pipecat`, `.frameworks/livekit`.
# Does nothing for one that is there already. They cannot share one, nor ours: they want other releases of openai.
#
# Bytecode is left to be made when it is imported: most of what is installed never is.
set -euo pipefail
cd "$(dirname "$0")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1
say() { printf 'turnlog: frameworks: %s\n' "$*" >&2; }

make_one() {
    local name=$1 lock="deploy/lock/$1.txt" room=".frameworks/$1" stamp
    stamp=$({ pwd; cat "$lock"; } | sha256sum)
    [[ -f $room/.made && $(<"$room/.made") == "$stamp" ]] && return
    say "installing $lock into $room"
    .venv/bin/python -m venv --clear "$room"
    "$room/bin/python" -m pip install --quiet --no-compile --require-hashes -r "$lock"
    printf '%s\n' "$stamp" >"$room/.made"
}

[[ $# -gt 0 ]] || set -- pipecat livekit
for name; do make_one "$name"; done
