"""What does a printer column show for one object? The part of JSONPath that our columns use.

Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#additional-printer-columns
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from demarc.api.crd import Column

_STEP = re.compile(r'\.([A-Za-z0-9]+)(?:\[\?\(@\.([A-Za-z0-9]+)=="([^"]*)"\)\])?')


def cell(column: Column, manifest: Mapping[str, Any], now: datetime) -> str:
    """The text of one column; empty when the object does not say."""
    value: Any = manifest
    for name, key, wanted in _STEP.findall(column.path):
        value = value.get(name) if isinstance(value, Mapping) else None
        if key:
            items = value if isinstance(value, Sequence) else ()
            value = next((item for item in items if item.get(key) == wanted), None)
    if value is None:
        return ""
    if column.type == "date":
        return age(datetime.fromisoformat(str(value)), now)
    if isinstance(value, list | tuple):
        return ",".join(str(item) for item in value)
    return str(value)


def age(since: datetime, now: datetime) -> str:
    """Time since a moment in the largest unit that says enough, as kubectl does: `42s`, `7m`."""
    seconds = max(0, int((now - since).total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
