"""What would this folder mean? `validate`, `render` and `explain` need no running Demarc."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import yaml

from demarc.api import manifests
from demarc.api.problem import Problem
from demarc.app import clock, folder, offline, packs
from demarc.app.folder import Folder, FolderError
from demarc.app.offline import Offline
from demarc.cli import output
from demarc.planning.objects import HOME
from demarc.planning.placement import Placed
from demarc.planning.settings import PlanSettings

folder_argument = click.argument("path", metavar="DIR", type=click.Path(path_type=Path))


@click.command(
    epilog="Example:\n\n  demarc validate examples/bank\n\n  demarc validate -o json DIR"
)
@folder_argument
@output.output_option
def validate(path: Path, output_format: str) -> None:
    """Check a folder of YAML as the operator would; status 2 if anything is refused."""
    read = read_folder(path)
    compiled = compile_folder(read)
    rows = [
        (
            str(verdict.ref),
            "True" if verdict.accepted else "False",
            verdict.reason.value,
            verdict.message,
        )
        for _, verdict in sorted(compiled.verdicts.items(), key=lambda item: str(item[0]))
    ]
    placed = [
        (
            f"{model.metadata.namespace}/{model.metadata.name}",
            outcome.site.metadata.name if isinstance(outcome, Placed) else outcome.site,
            outcome.pool.name if isinstance(outcome, Placed) else "",
            "Placed" if isinstance(outcome, Placed) else outcome.reason.value,
            "" if isinstance(outcome, Placed) else outcome.message,
        )
        for model, outcome in offline.placements(compiled, clock.now())
    ]
    refused = any(not verdict.accepted for verdict in compiled.verdicts.values())
    if output_format == "json":
        output.json_document(
            {
                "valid": not read.problems and not refused,
                "problems": [_problem_json(problem) for problem in read.problems],
                "objects": [
                    dict(zip(("object", "accepted", "reason", "message"), row, strict=True))
                    for row in rows
                ],
                "placements": [
                    dict(zip(("deployment", "site", "pool", "reason", "message"), row, strict=True))
                    for row in placed
                ],
                "widenings": [
                    {"sentence": item.sentence, "request": dict(item.request)}
                    for item in compiled.widenings
                ],
            }
        )
    else:
        output.table(("OBJECT", "ACCEPTED", "REASON", "MESSAGE"), rows)
        if placed:
            click.echo()
            output.table(("DEPLOYMENT", "SITE", "POOL", "REASON", "MESSAGE"), placed)
        if compiled.widenings:
            click.echo("\nWhat these objects let out:")
            for item in compiled.widenings:
                click.echo(f"  {item.sentence}")
    print_problems(read)
    if read.problems or refused:
        raise SystemExit(output.BAD_INPUT)


@click.command(
    epilog="Example:\n\n  demarc render examples/bank | kubectl apply --dry-run=server -f -"
)
@folder_argument
@click.option("--cluster", default=None, help="Only the objects of this remote site, or `home`.")
def render(path: Path, cluster: str | None) -> None:
    """Print every Kubernetes object that Demarc would apply, as YAML; Secrets are left out."""
    read = read_folder(path)
    print_problems(read)
    if read.problems:
        raise SystemExit(output.BAD_INPUT)
    compiled = compile_folder(read)
    settings = PlanSettings(home=compiled.home)
    for item in offline.plan(compiled, settings, clock.now()):
        name = item.cluster if item.cluster != HOME else "home"
        if cluster is None or cluster == name:
            click.echo(f"---\n# cluster: {name}")
            click.echo(
                yaml.safe_dump(manifests.plain(item.manifest), sort_keys=False, width=100), nl=False
            )


def read_folder(path: Path) -> Folder:
    """A folder, or one line and status 2."""
    try:
        return folder.read(path)
    except FolderError as error:
        output.fail(str(error), status=output.BAD_INPUT)


def compile_folder(read: Folder) -> Offline:
    """What the objects of a folder mean."""
    return offline.compile_folder(read.objects, packs.load(), clock.now())


def print_problems(read: Folder) -> None:
    """All problems on standard error, one line each."""
    for problem in read.problems:
        click.echo(str(problem), err=True)
    if read.problems:
        count = len(read.problems)
        click.echo(f"demarc: {count} problem{'s' if count > 1 else ''} in {read.path}", err=True)
    sys.stderr.flush()


def _problem_json(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "kind": problem.kind,
        "name": problem.name,
        "field": problem.field,
        "value": problem.value,
        "message": problem.message,
        "remedy": problem.remedy,
    }
