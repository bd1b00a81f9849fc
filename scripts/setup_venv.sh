#!/bin/sh
# Install the package and one set of tools into a virtual environment.
#
#   scripts/setup_venv.sh VENV SET      SET: run (the package alone), dev, bench or notebooks
#
# PYTHON=/path/to/python3.12 chooses the interpreter. The file VENV/.ready-SET marks a finished
# installation; what the installer printed is kept in VENV/setup.log.
set -eu

venv=$1
set_name=$2

usable() {
    "$1" -c 'import sys; raise SystemExit(not (3, 12) <= sys.version_info[:2] < (3, 15))' \
        >/dev/null 2>&1
}

# A name on PATH may be a version manager's shim that refuses to run, so each one is tried.
find_python() {
    for name in "${PYTHON:-}" python3 python3.12 python3.13 python3.14 python; do
        if [ -n "$name" ] && usable "$name"; then
            echo "$name"
            return 0
        fi
    done
    return 1
}

say_too_old() {
    found=$(python3 --version 2>/dev/null || echo "no python3")
    echo "skillinfer_bayes needs Python 3.12, 3.13 or 3.14; found here: $found." >&2
    echo "Install one of them, or name it: PYTHON=/path/to/python3.12 make ..." >&2
    exit 1
}

# Keep the installer quiet unless it fails.
quietly() {
    if ! "$@" >>"$venv/setup.log" 2>&1; then
        echo "set-up failed at: $*" >&2
        tail -n 25 "$venv/setup.log" >&2
        exit 1
    fi
}

uv=$(command -v uv || true)

if ! usable "$venv/bin/python"; then
    rm -rf "$venv"
    python=$(find_python || true)
    if [ -n "$uv" ]; then
        # Without a usable Python on PATH, uv may know where to find one.
        "$uv" venv --quiet --python "${python:->=3.12,<3.15}" "$venv" >&2 || say_too_old
    elif [ -n "$python" ]; then
        if ! "$python" -m venv "$venv" >&2; then
            echo "$python cannot make a virtual environment; on Debian and Ubuntu install its" \
                "venv package (python3-venv)." >&2
            rm -rf "$venv"
            exit 1
        fi
    else
        say_too_old
    fi
fi

case $set_name in
    run) groups= ;;
    *) groups="--group $set_name" ;;
esac

echo "Setting up $venv ($set_name, $("$venv/bin/python" --version));" \
    "the first time takes a few minutes." >&2
: >"$venv/setup.log"
if [ -z "$uv" ] && ! "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
    quietly "$venv/bin/python" -m ensurepip  # uv made this environment and is gone
fi
# $groups is two words or none, so it stays unquoted.
if "$venv/bin/python" -c 'import pip' >/dev/null 2>&1; then
    # pip reads dependency groups from 25.1 on.
    if ! "$venv/bin/python" -c \
        'import pip; v = pip.__version__.split("."); raise SystemExit((int(v[0]), int(v[1])) < (25, 1))'
    then
        quietly "$venv/bin/python" -m pip install --upgrade "pip>=25.1"
    fi
    quietly "$venv/bin/python" -m pip install -c constraints.txt $groups -e .
else
    quietly "$uv" pip install --python "$venv/bin/python" -c constraints.txt $groups -e .
fi
touch "$venv/.ready-$set_name"
