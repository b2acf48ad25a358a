"""Where are the detector packs? In the package, or beside it in a checkout."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from demarc.policy import detection
from demarc.policy.detection import Detectors


class PacksError(Exception):
    """The shipped packs are missing: nothing may be decided without them."""


def load() -> Detectors:
    """All shipped packs, compiled.

    Raises:
        PacksError: there are none.
    """
    texts = {folder.name: (folder / "pack.yaml").read_text("utf-8") for folder in _folders()}
    if not texts:
        raise PacksError("no detector pack is installed: reinstall demarc")
    return detection.load_packs(texts)


def _folders() -> tuple[Path, ...]:
    package = Path(str(resources.files("demarc")))
    for root in (package / "policies", package.parent.parent / "policies"):
        found = tuple(sorted(file.parent for file in root.glob("*/pack.yaml")))
        if found:
            return found
    return ()
