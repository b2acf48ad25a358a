#!/usr/bin/env bash
# Where does Triton come from? The server of the `nvidia-pytriton` wheel, as TOOLS/triton/bin/tritonserver.
#
# RULES
# - numpy stays below 2: with 2.x models load, and the first string tensor kills the stub.
# - The Python backend needs the stub for the running Python beside it: a folder of links holds both.
# - The stub needs the libpython of that Python; the loader finds it in a folder that holds nothing else.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

require_platform
hold triton
dir=$tools/triton
python=$(find_python 11 12 "$dir") # numpy 1.26 has no wheel for 3.13
locked_venv "$dir" "$root/requirements/triton.lock" "$python"
wrapper=$dir/bin/tritonserver
[ "$fresh" = yes ] || [ ! -x "$wrapper" ] || [ ! -e "$dir/libpython/$(cat "$dir/.libpython" 2>/dev/null)" ] || exit 0

rm -f "$wrapper" # it comes back when everything below has worked
read -r version soname libdir < <("$dir/bin/python" -c '
import sys, sysconfig
version = "{}.{}".format(*sys.version_info)
print(version, f"libpython{version}.so.1.0", sysconfig.get_config_var("LIBDIR"))')

# the interpreter's own libdir first, then what the loader knows
libpython() {
    if [ -e "$libdir/$soname" ]; then
        say "$libdir/$soname"
    else
        { ldconfig -p 2>/dev/null || /sbin/ldconfig -p; } | sed -n "s|.*$soname .*x86-64.* => ||p" | head -n 1
    fi
}
found=$(libpython)
if [ -z "$found" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing libpython$version"
    apt-get install -y -qq --no-install-recommends "libpython$version" >/dev/null 2>&1 || {
        apt-get update -qq && apt-get install -y -qq --no-install-recommends "libpython$version"
    } >/dev/null 2>&1 || true
    found=$(libpython)
fi
[ -n "$found" ] || die "$soname is missing, Triton's Python backend needs it: install the package libpython$version (Debian, Ubuntu) and run: make tools"

wheel=$("$dir/bin/python" -c 'import importlib.util as u; print(u.find_spec("pytriton").submodule_search_locations[0])')/tritonserver
stub=$wheel/python_backend_stubs/$version/triton_python_backend_stub
[ -e "$stub" ] || die "the wheel of Triton has no stub for Python $version: make tools PYTHON=/path/to/python3.11"
chmod +x "$wheel/bin/tritonserver" "$stub"

mkdir -p "$dir/backends/python" "$dir/libpython"
ln -sfn "$wheel" "$dir/server"
ln -sf "$wheel/backends/python/libtriton_python.so" "$wheel/backends/python/triton_python_backend_utils.py" "$stub" "$dir/backends/python/"
ln -sf "$found" "$dir/libpython/$soname"
say "$soname" >"$dir/.libpython"

cat >"$wrapper.new" <<'WRAPPER'
#!/bin/sh
# Starts Triton with the Python, the backend folder and the libpython of this environment.
home=$(dirname "$(dirname "$(readlink -f "$0")")")
PATH=$home/bin:$PATH
LD_LIBRARY_PATH=$home/libpython${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
export PATH LD_LIBRARY_PATH
for argument; do
    case $argument in
    --backend-directory | --backend-directory=*) exec "$home/server/bin/tritonserver" "$@" ;;
    esac
done
exec "$home/server/bin/tritonserver" "--backend-directory=$home/backends" "$@"
WRAPPER
chmod +x "$wrapper.new"
mv "$wrapper.new" "$wrapper"
say "triton $(sed -n 's/^nvidia-pytriton==\([^ ]*\).*/\1/p' "$root/requirements/triton.lock") with Python $version and $found"
