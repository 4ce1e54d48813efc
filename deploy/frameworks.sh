#!/usr/bin/env bash
# Makes an environment for each framework that the door is tested with, `.frameworks/pipecat` and `.frameworks/livekit`,
# both at once: `deploy/frameworks.sh [pipecat|livekit]`. Does nothing for one that is there already. They cannot share
# one, nor ours: they want other releases of openai. `deploy/frameworks.sh lock` resolves the locks again (needs uv).
#
# A lock is whole, so pip resolves nothing; bytecode is left to be made when it is imported: most of it never is.
set -euo pipefail
cd "$(dirname "$0")/.."

export PIP_DISABLE_PIP_VERSION_CHECK=1
readonly ALL=(pipecat livekit)

say() { printf 'turnlog: frameworks: %s\n' "$*" >&2; }

make_one() {
    local name=$1 lock="deploy/lock/$1.txt" room=".frameworks/$1" stamp
    stamp=$({ pwd; cat "$lock"; } | sha256sum)
    [[ -f $room/.made && $(<"$room/.made") == "$stamp" ]] && return
    say "installing $lock into $room"
    "${PYTHON:-python3}" -m venv --clear "$room"
    "$room/bin/python" -m pip install --quiet --no-compile --no-deps --require-hashes -r "$lock"
    "$room/bin/python" -m pip check >&2
    printf '%s\n' "$stamp" >"$room/.made"
}

if [[ ${1:-} == lock ]]; then
    for name in "${ALL[@]}"; do
        uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
            --output-file "deploy/lock/$name.txt" "${@:2}" "deploy/lock/$name.in"
    done
    exit
fi
(($#)) || set -- "${ALL[@]}"
made=()
for name; do
    make_one "$name" &
    made+=($!)
done
for one in "${made[@]}"; do wait "$one"; done
