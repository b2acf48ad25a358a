# What do the installers share? Sourced by them; it runs nothing by itself.
#
# INVARIANT: a lock file is installed whole, with hashes, and only from wheels.
# INVARIANT: two installers at once wait for each other; a second run with nothing new installs nothing.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
tools=${DEMARC_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/demarc/tools}

say() { printf '%s\n' "$*"; }
die() {
    printf '%s\n' "$*" >&2
    exit 1
}

# The machine: Linux on x86-64 with glibc 2.35 or newer; the binaries of Envoy and Triton need that.
require_platform() {
    local have
    [ "$(uname -sm)" = "Linux x86_64" ] ||
        die "demarc runs on Linux x86-64 only: this machine is $(uname -sm)"
    have=$(getconf GNU_LIBC_VERSION 2>/dev/null) || die "demarc needs glibc 2.35 or newer: this system has another C library"
    have=${have#glibc }
    [ "$(printf '2.35\n%s\n' "$have" | sort -V | head -n 1)" = 2.35 ] ||
        die "demarc needs glibc 2.35 or newer: this system has $have"
}

# Succeeds if $1 is a Python between the minor versions $2 and $3 that can make a virtual environment.
python_fits() {
    "$1" -c "import ensurepip, sys, venv; sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" 2>/dev/null
}

# Prints the first interpreter between 3.$1 and 3.$2 (99: no upper bound). PYTHON, when set, is the only
# candidate; where there is an upper bound it is only the first, because another one does no harm there.
# Without PYTHON an environment $3 that stands keeps its interpreter, whatever `python3` means today.
find_python() {
    local low=$1 high=$2 dir=$3 candidate candidates wanted="Python 3.$1 or newer"
    candidates="python3 python3.14 python3.13 python3.12 python3.11"
    if [ "$high" != 99 ]; then
        wanted="Python 3.$low to 3.$high"
        candidates="${PYTHON:-} $candidates"
    elif [ -n "${PYTHON:-}" ]; then
        candidates=$PYTHON
    fi
    if [ -z "${PYTHON:-}" ] && python_fits "$dir/bin/python" "$low" "$high"; then
        "$dir/bin/python" -c 'import sys; print(sys._base_executable)'
        return
    fi
    for candidate in $candidates; do
        if python_fits "$candidate" "$low" "$high"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    die "$wanted with its venv module is needed and none of these is one:" $candidates "- install it, then: make setup PYTHON=/path/to/python3"
}

# Holds the lock of $1 (a name) until this shell ends.
hold() {
    mkdir -p "$tools"
    exec 9>"$tools/.$1.flock"
    flock 9
}

# Brings the virtual environment $1 to what the lock $2 says, with the interpreter $3.
# Sets `fresh` to yes when it changed something.
locked_venv() {
    local dir=$1 lock=$2 python=$3 identity want
    identity='import sys; print(sys.base_prefix, *sys.version_info[:3])'
    want="$(sha256sum <"$lock" | cut -d ' ' -f 1) $("$python" -c "$identity")"
    fresh=no
    if [ "$(cat "$dir/.locked" 2>/dev/null)" = "$want" ] && "$dir/bin/python" -c '' 2>/dev/null; then
        return
    fi
    fresh=yes
    say "installing $(basename "$lock") into $dir"
    # another interpreter: start again; the same one: keep what is there, programs may be running from it
    if [ "$("$dir/bin/python" -c "$identity" 2>/dev/null)" != "${want#* }" ]; then
        rm -rf "$dir"
        "$python" -m venv "$dir"
    fi
    rm -f "$dir/.locked"
    "$dir/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --no-deps --only-binary :all: -r "$lock" ||
        die "installing $(basename "$lock") failed: is the package index reachable? then run the same command again"
    printf '%s\n' "$want" >"$dir/.locked"
}
