"""Which commands are there? `demarc --help` lists them; each has examples of its own."""

from __future__ import annotations

from importlib.metadata import version

import click
from click.shell_completion import get_completion_class

from demarc.cli import lifecycle, offline, output, processes, running


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Example:\n\n  demarc up examples/bank",
)
@click.version_option(version("demarc"), prog_name="demarc")
def main() -> None:
    """Keep the point where your premises end and the public network begins, for LLMs."""


@click.command(epilog="Example:\n\n  source <(demarc completion bash)")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the script that completes commands in a shell."""
    found = get_completion_class(shell)
    if found is None:
        output.fail(f"there is no completion for `{shell}`", status=output.BAD_INPUT)
    click.echo(found(main, {}, "demarc", "_DEMARC_COMPLETE").source())


for command in (
    lifecycle.up,
    lifecycle.down,
    offline.validate,
    offline.render,
    running.get,
    running.describe,
    running.explain,
    running.token,
    running.usage,
    processes.model,
    processes.agent,
    processes.frontend,
    completion,
):
    main.add_command(command)
