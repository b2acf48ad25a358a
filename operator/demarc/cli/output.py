"""How does a command answer? Tables for people, JSON for programs, one line for errors."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

BAD_INPUT = 2
"""Exit status when what the user gave is wrong."""
FAILED = 1
"""Exit status when the input was good and the work failed."""


def table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """Print a table: aligned columns, bold headers on a terminal, plain text elsewhere."""
    console = Console(soft_wrap=not sys.stdout.isatty())
    shown = Table(
        title=title or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        header_style="bold",
        show_edge=False,
    )
    for header in headers:
        shown.add_column(header, overflow="fold", no_wrap=not sys.stdout.isatty())
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))  # `[name]` in a text is no markup
    if not sys.stdout.isatty():
        console = Console(width=4096, no_color=True)
        shown.title = title or None
    console.print(shown)


def json_document(value: Any) -> None:
    """Print a value as JSON, indented, with sorted keys."""
    click.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, default=str))


def fail(message: str, *, status: int = FAILED) -> NoReturn:
    """Print one line on standard error and end with a status."""
    click.echo(f"demarc: {message}", err=True)
    raise SystemExit(status)


output_option = click.option(
    "-o",
    "--output",
    "output_format",
    type=click.Choice(["table", "wide", "json"]),
    default="table",
    show_default=True,
    help="How the answer is printed.",
)
