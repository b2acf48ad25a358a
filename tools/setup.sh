#!/usr/bin/env bash
# Where does `.venv` come from? Checks the machine, installs the lock, installs demarc editable.
#
# Usage: tools/setup.sh     PYTHON=... picks the interpreter
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

require_platform
venv=$root/.venv
python=$(find_python 11 99 "$venv")

exec 9<"$root/requirements/dev.lock"
flock 9
locked_venv "$venv" "$root/requirements/dev.lock" "$python"

# metadata and the console script come from pyproject.toml alone; sources are read in place
want=$(sha256sum <"$root/pyproject.toml")
if [ "$fresh" = yes ] || [ "$(cat "$venv/.editable" 2>/dev/null)" != "$want" ]; then
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --no-deps --no-build-isolation --no-index -e "$root"
    printf '%s\n' "$want" >"$venv/.editable"
fi
