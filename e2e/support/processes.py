"""Which processes belong to a folder? Those whose words, environment or working folder name it."""

from __future__ import annotations

import os
from pathlib import Path


def of(folder: Path) -> dict[int, str]:
    """Process id -> command line; this process and zombies are left out."""
    name = os.fsencode(folder)
    found = dict[int, str]()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            traces = (
                words,
                (entry / "environ").read_bytes(),
                os.fsencode((entry / "cwd").readlink()),
            )
        except OSError:
            continue  # it has ended, or belongs to someone else
        if words and any(name in trace for trace in traces):
            found[int(entry.name)] = words.replace(b"\0", b" ").decode(errors="replace").strip()
    return found


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
