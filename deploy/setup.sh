#!/usr/bin/env bash
# Makes .venv and installs a lock into it: `deploy/setup.sh runtime|test`. Does nothing when that is done already.
#
# What is installed has a hash in deploy/lock/; the project itself comes last, editable, and downloads nothing.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly LOCK="deploy/lock/$1.txt" STAMP=".venv/.turnlog-$1"
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'turnlog: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# What the environment was made from. The path is part of it: scripts of a moved .venv point to the old place.
# Of pyproject.toml only what is installed counts, not the configuration of tools below it.
wanted() { { pwd; sed '/^\[tool\./q' pyproject.toml; cat "$LOCK"; } | sha256sum; }

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    local name
    for name in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if new_enough "$name"; then
            printf '%s\n' "$name"
            return
        fi
    done
    name=${PYTHON:-python3}
    fail "Python 3.11 or newer is needed, and $name is $("$name" -V 2>/dev/null || echo 'not here')." \
        "Install it (Debian: apt-get install python3 python3-venv) or name one: make demo PYTHON=/path/to/python3.12"
}

make_venv() {
    local python
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$("$python" -V) is here without its venv module. Install it (Debian: apt-get install python3-venv), then run this again."
    say "making .venv with $("$python" -V)"
    "$python" -m venv "$@" .venv
}

# Counts packages as pip gets to them, so that minutes of download are not silent.
progress() {
    awk -v all="$(grep -c '==' "$LOCK")" -v tty="$([ -t 2 ] && echo 1)" '
        /^Collecting / {
            n++
            if (tty) printf "\r\033[K  %d of about %d  %s", n, all, $2
            else if (n % 25 == 0) printf "  %d of about %d\n", n, all
            fflush()
        }
        /^Installing collected/ { printf "%s  unpacking\n", tty ? "\r\033[K" : ""; fflush() }
    ' >&2
}

install() {
    local log=".venv/.turnlog-$1.log"
    .venv/bin/python -m pip install --require-hashes -r "$LOCK" 2>"$log" | progress || {
        cat "$log" >&2
        fail "pip could not install $LOCK: see above. When that is mended, run the same command again."
    }
    .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable . ||
        fail "pip could not install turnlog itself from $PWD: see above."
}

stamp=$(wanted)
[[ -x .venv/bin/python && -f $STAMP && $(<"$STAMP") == "$stamp" ]] && exit 0

if ! new_enough .venv/bin/python; then
    make_venv --clear
elif ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    make_venv
fi
case $1 in
    runtime) say "installing $LOCK: downloads about 370 MB the first time, which takes a minute or more" ;;
    *) say "installing $LOCK: the tools of the tests" ;;
esac
install "$1"
printf '%s\n' "$stamp" >"$STAMP"
