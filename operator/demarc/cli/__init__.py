"""Which commands are there? `demarc --help` lists them; each has examples of its own."""

from __future__ import annotations

from importlib.metadata import version

import click

from demarc.cli import offline


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("demarc"), prog_name="demarc")
def main() -> None:
    """Keep the point where your premises end and the public network begins, for LLMs.

    A newcomer starts with `demarc up examples/bank`.
    """


for command in (offline.validate, offline.render):
    main.add_command(command)
