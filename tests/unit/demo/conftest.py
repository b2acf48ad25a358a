"""Makes `story` importable, as it is when `demo/run.py` runs."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "demo"))
