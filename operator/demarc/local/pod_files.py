"""How do a pod's files come and stay as the objects say? Volumes, sub paths and credentials."""

from __future__ import annotations

import json
from typing import Final

from demarc.api.cluster import Manifest
from demarc.local import pod_volumes, volumes
from demarc.local.pod_site import Host, RunningPod
from demarc.local.pod_volumes import EmptyDir, Files, MissingSource, Sources
from demarc.local.volumes import VolumeError

_RENEW_SHARE: Final = 0.8  # of a token's life, as in the kubelet


def located(running: RunningPod) -> Manifest:
    """The pod with the addresses that its environment and files may name."""
    where = running.site.where
    return {**running.pod, "status": {"podIP": where.address, "hostIP": where.host}}


def renewal_seconds(running: RunningPod) -> float | None:
    """How long the files stay good by themselves; None: for ever."""
    lives = [
        file.seconds for volume in running.plan.volumes for file in pod_volumes.token_files(volume)
    ]
    if running.site.credentials:
        lives.append(running.site.credentials.seconds)
    return _RENEW_SHARE * min(lives) if lives else None


async def write(running: RunningPod, host: Host) -> str:
    """Write what has changed; why it cannot be written, or empty."""
    try:
        sources = await host.sources(running)
        trouble = _write_volumes(running, sources)
        if not trouble:
            _make_sub_paths(running)
            _write_credentials(running, sources)
    except (MissingSource, VolumeError) as error:
        return str(error)
    except OSError as error:
        return f"a volume cannot be written: {error.strerror}"
    return trouble


def _write_volumes(running: RunningPod, sources: Sources) -> str:
    for volume in running.plan.volumes:
        folder = running.site.folders.volume(volume)
        if isinstance(volume, Files):
            content = pod_volumes.content(volume, located(running), sources)
            volumes.write_files(folder, content)
        elif isinstance(volume, EmptyDir):
            volumes.make_folder(folder)
        elif not folder.is_dir():
            return f"claim `{volume.claim}`: `{folder}` is no folder"
    return ""


def _make_sub_paths(running: RunningPod) -> None:
    by_name = {volume.name: volume for volume in running.plan.volumes}
    for container in running.plan.containers:
        for mount in container.mounts:
            volume = by_name[mount.volume]
            if mount.sub_path and not isinstance(volume, Files):
                volumes.make_sub_path(running.site.folders.volume(volume), mount.sub_path)


def _write_credentials(running: RunningPod, sources: Sources) -> None:
    credentials = running.site.credentials
    if credentials is None:
        return
    folder = running.site.folders.credentials
    volumes.make_folder(folder)
    token = sources.tokens[credentials.audience, credentials.seconds]
    volumes.write_file(folder / "token", token.encode())
    text = kubeconfig(credentials.server, str(running.pod["metadata"]["namespace"]))
    volumes.write_file(folder / "kubeconfig", text.encode())


def kubeconfig(server: str, namespace: str) -> str:
    """A kubeconfig whose token lies in the file `token` beside it."""
    context = {"cluster": "local", "user": "local", "namespace": namespace}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "local",
        "clusters": [{"name": "local", "cluster": {"server": server}}],
        "contexts": [{"name": "local", "context": context}],
        "users": [{"name": "local", "user": {"tokenFile": "token"}}],
    }
    return json.dumps(document, indent=2) + "\n"  # JSON is YAML
