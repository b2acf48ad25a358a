"""Where does a text lie? Every file below a folder, read as bytes, in every form that we write."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote


def forms(text: str) -> Mapping[str, bytes]:
    """The bytes by which a text could stand in a file, by the name of the form.

    base64 has three alignments; of each the part is taken that no neighbour changes.
    """
    data = text.encode()
    found = {
        "plain": data,
        "capitals": text.upper().encode(),
        "JSON": json.dumps(text)[1:-1].encode(),
        "percent": quote(text, safe="").encode(),
        "hex": data.hex().encode(),
        "hex in capitals": data.hex().upper().encode(),
        "UTF-16": text.encode("utf-16-le"),
        "UTF-16 in the other order": text.encode("utf-16-be"),
    }
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + data)
        first = (8 * before + 5) // 6
        last = 8 * (before + len(data)) // 6
        found[f"base64 at {before}"] = whole[first:last]
        found[f"base64 of URLs at {before}"] = whole[first:last].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    return found


def files(folder: Path) -> Iterator[Path]:
    """Every regular file, behind links too."""
    for base, _, names in os.walk(folder, followlinks=True):
        for name in names:
            path = Path(base, name)
            if path.is_file():
                yield path


def find(folder: Path, texts: Iterable[str]) -> Mapping[Path, frozenset[str]]:
    """File -> the forms in which any of the texts stands there."""
    wanted = [(name, form) for text in texts for name, form in forms(text).items()]
    found: dict[Path, frozenset[str]] = {}
    for path in files(folder):
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            continue  # it was replaced in between
        held = frozenset(name for name, form in wanted if form in data)
        if held:
            found[path] = held
    return found
