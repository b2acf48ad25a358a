"""What runs, and why did that request go there? `get`, `describe`, `explain`, `token`, `usage`."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
import yaml

from demarc.api.cluster import Kind, Manifest, Ref
from demarc.api.crd import DEFINITIONS, Definition
from demarc.app import clock, offline, packs
from demarc.app.offline import CallerError
from demarc.app.running import Running, RunningError
from demarc.audit.record import Decision, Record
from demarc.cli import columns, output
from demarc.cli.lifecycle import state_option
from demarc.cli.offline import compile_folder, print_problems, read_folder
from demarc.ledger.usage import GROUPS
from demarc.policy import explanation
from demarc.policy.explanation import Explanation
from demarc.policy.label import level_name
from demarc.policy.refusal import Refusal

_DECISION_ID = re.compile(r"[0-9a-f]{32}")


def _definitions(words: tuple[str, ...]) -> list[Definition]:
    """The kinds that a word of kubectl means; all of them for `all` or `demarc`."""
    found = list[Definition]()
    for word in words:
        lower = word.lower()
        fitting = [
            each
            for each in DEFINITIONS
            if lower in {"all", "demarc", each.short_name, each.kind.plural, each.kind.name.lower()}
        ]
        if not fitting:
            known = ", ".join(f"{each.kind.plural} ({each.short_name})" for each in DEFINITIONS)
            output.fail(f"there is no kind `{word}`: use {known}", status=output.BAD_INPUT)
        found += [each for each in fitting if each not in found]
    return found


def _running(state: Path) -> Running:
    try:
        return Running(state)
    except RunningError as error:
        output.fail(str(error))


@click.command(
    epilog="Examples:\n\n  demarc get\n\n  demarc get dmd -n models -o wide"
    "\n\n  demarc get dmd -o json"
)
@click.argument("kinds", nargs=-1)
@click.option("-n", "--namespace", default="", help="Only this namespace.")
@output.output_option
@state_option
def get(kinds: tuple[str, ...], namespace: str, output_format: str, state: Path) -> None:
    """Print the objects of a running Demarc, with the columns of `kubectl get`."""
    running = _running(state)
    found = dict[Kind, tuple[Manifest, ...]]()
    for definition in _definitions(kinds or ("all",)):
        try:
            found[definition.kind] = running.list(definition.kind, namespace)
        except RunningError as error:
            output.fail(str(error))
    if output_format == "json":
        output.json_document(
            {"apiVersion": "v1", "kind": "List", "items": [i for k in found.values() for i in k]}
        )
        return
    now = clock.now()
    for index, definition in enumerate(d for d in DEFINITIONS if d.kind in found):
        if index:
            click.echo()
        shown = [c for c in definition.columns if not c.wide or output_format == "wide"]
        head = (["NAMESPACE"] if definition.kind.namespaced else []) + ["NAME"]
        rows = [
            (
                *((item["metadata"]["namespace"],) if definition.kind.namespaced else ()),
                f"{definition.kind.name.lower()}/{item['metadata']['name']}",
                *(columns.cell(column, item, now) for column in shown),
            )
            for item in found[definition.kind]
        ]
        output.table([*head, *(column.name.upper() for column in shown)], rows)


@click.command(epilog="Example:\n\n  demarc describe dmd models/glm-4-air")
@click.argument("kind")
@click.argument("name", metavar="[NAMESPACE/]NAME")
@output.output_option
@state_option
def describe(kind: str, name: str, output_format: str, state: Path) -> None:
    """Print one object with its conditions, each with what to do about it."""
    definition = _definitions((kind,))[0]
    namespace, _, short = name.rpartition("/")
    if definition.kind.namespaced and not namespace:
        output.fail(f"{definition.kind.name} needs NAMESPACE/NAME", status=output.BAD_INPUT)
    try:
        found = _running(state).get(Ref(definition.kind, namespace, short))
    except RunningError as error:
        output.fail(str(error))
    if found is None:
        output.fail(f"there is no {definition.kind.name} `{name}`", status=output.BAD_INPUT)
    if output_format == "json":
        output.json_document(found)
        return
    metadata = {k: v for k, v in found["metadata"].items() if k != "managedFields"}
    click.echo(
        yaml.safe_dump({**found, "metadata": metadata}, sort_keys=False, allow_unicode=True),
        nl=False,
    )
    conditions = (found.get("status") or {}).get("conditions") or ()
    if conditions:
        click.echo()
        output.table(
            ("CONDITION", "STATUS", "REASON", "MESSAGE"),
            [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions],
        )


@click.command(
    epilog="Examples:\n\n  demarc explain request.json --as retail/branch-faq"
    "\n\n  demarc explain request.json --as retail/branch-faq --dir examples/bank"
    "\n\n  demarc explain 0193f6e2b1c07a2e8d0f5c9b7a6e4d21"
)
@click.argument("request", metavar="REQUEST|DECISION")
@click.option("--as", "caller", metavar="TENANT/APP", help="The app that asks.")
@click.option("--client", default="", help="Its client; the first by name if none is named.")
@click.option("--level", default="", help="As the header demarc-level: 1 to 5 or TOP.")
@click.option(
    "--dir",
    "path",
    type=click.Path(path_type=Path),
    help="Explain against a folder in place of the running policy; every endpoint counts as up.",
)
@output.output_option
@state_option
def explain(
    request: str,
    caller: str | None,
    client: str,
    level: str,
    path: Path | None,
    output_format: str,
    state: Path,
) -> None:
    """Say for every endpoint what removed it: for a request file, or a past decision."""
    if _DECISION_ID.fullmatch(request) and not Path(request).exists():
        _explain_past(request, output_format, state)
        return
    body = _read_body(request)
    if caller is None or "/" not in caller:
        output.fail("name the app that asks: --as TENANT/APP", status=output.BAD_INPUT)
    if path is not None:
        read = read_folder(path)
        print_problems(read)
        epoch = compile_folder(read).epoch
        health = offline.all_up(epoch)
    else:
        running = _running(state)
        try:
            epoch = running.epoch()
            health = running.health(epoch)
        except RunningError as error:
            output.fail(str(error))
    tenant, _, app = caller.partition("/")
    try:
        identity = offline.caller(epoch, tenant, app, client)
    except CallerError as error:
        output.fail(str(error), status=output.BAD_INPUT)
    found = offline.explain(
        body,
        caller=identity,
        level=level,
        epoch=epoch,
        detectors=packs.load(),
        health=health,
        now=clock.now(),
    )
    match found:
        case Refusal():
            output.fail(f"{found.status} {found.code}: {found.message}", status=output.BAD_INPUT)
        case Explanation():
            _print_explanation(found, output_format)


def _read_body(request: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if request == "-" else Path(request).read_bytes()
    except OSError as error:
        output.fail(f"`{request}` cannot be read: {error.strerror}", status=output.BAD_INPUT)


def _print_explanation(found: Explanation, output_format: str) -> None:
    document = explanation.to_json(found)
    if output_format == "json":
        output.json_document(document)
        return
    label = document["label"]
    click.echo(f"app      {found.request.caller.tenant}/{found.request.caller.app}")
    click.echo(f"epoch    {document['epoch']['number']}")
    click.echo(f"label    {_label_text(label['level'], label['categories'], label['origins'])}")
    for operand in document["provenance"]:
        click.echo(f"         level {operand['level']} by {operand['source']}")
    click.echo(f"outcome  {document['outcome']} {document['detail']}".rstrip())
    click.echo(f"chosen   {document['chosen'] or 'none'}\n")
    output.table(explanation.TABLE_HEAD, explanation.table(found))


def _explain_past(decision_id: str, output_format: str, state: Path) -> None:
    try:
        found = _running(state).decisions(decision_id)
    except RunningError as error:
        output.fail(str(error))
    if not found:
        output.fail(f"no record has decision `{decision_id}`", status=output.BAD_INPUT)
    if output_format == "json":
        output.json_document(msgspec.to_builtins(found))
        return
    for record in found:
        if isinstance(record.decision, Decision):
            _print_record(record, record.decision)


_LAYERS = {
    "E0": "E0: it is no target of the model",
    "E1": "E1: the label is above its clearance",
    "E2": "E2: a residency rule keeps the request from it",
    "E3": "E3: no permit of the app names it",
    "E4": "E4: it cannot do what the request needs",
}
"""Layer of a record -> what removed an endpoint there; a record holds no sentences."""


def _print_record(record: Record, decision: Decision) -> None:
    click.echo(f"decision {decision.id} at {record.at} by {record.gateway}")
    if decision.caller is not None:
        click.echo(f"app      {decision.caller.tenant}/{decision.caller.app}")
    if decision.epoch is not None:
        click.echo(f"epoch    {decision.epoch.number}")
    if decision.label is not None:
        label = decision.label
        click.echo(
            f"label    {_label_text(level_name(label.level), label.categories, label.origins)}"
        )
        for operand in label.provenance:
            click.echo(f"         level {level_name(operand.level)} by {operand.source}")
    if decision.public:
        click.echo(f"public   closed: {decision.public}")
    click.echo(f"outcome  {decision.outcome} {decision.status} {decision.reason}".rstrip())
    chosen = decision.chosen
    click.echo(f"chosen   {chosen.endpoint if chosen else 'none'}\n")
    rows = [
        (
            "->" if chosen and name == chosen.endpoint else "",
            name,
            "yes" if up else "no",
            "permitted",
        )
        for name, up in sorted(decision.health.items())
    ]
    rows += [
        (
            "",
            row.endpoint,
            "",
            f"{_LAYERS.get(row.layer, row.layer)}{f' ({row.by})' if row.by else ''}",
        )
        for row in decision.removed
    ]
    output.table(("", "ENDPOINT", "UP", "WHY"), rows)


def _label_text(level: object, categories: Any, origins: Any) -> str:
    parts = [f"level {level}"]
    if categories:
        parts.append(", ".join(categories))
    parts.append("origins " + ("all" if list(origins) == ["*"] else ", ".join(origins) or "none"))
    return "; ".join(parts)


@click.command(epilog="Example:\n\n  demarc token retail/copilot")
@click.argument("account", metavar="NAMESPACE/NAME")
@click.option("--seconds", default=3600, show_default=True, help="How long it is valid.")
@state_option
def token(account: str, seconds: int, state: Path) -> None:
    """Print a token of a ServiceAccount for the gateway."""
    namespace, slash, name = account.partition("/")
    if not (namespace and slash and name):
        output.fail(f"name NAMESPACE/NAME, not `{account}`", status=output.BAD_INPUT)
    try:
        click.echo(_running(state).token(namespace, name, seconds))
    except RunningError as error:
        output.fail(str(error))


@click.command(epilog="Examples:\n\n  demarc usage\n\n  demarc usage --by app,scope -o json")
@click.option(
    "--by",
    default="tenant,model,site",
    show_default=True,
    help=f"Columns to add up by: {', '.join(GROUPS)}.",
)
@click.option("--tenant", default=None, help="Only this tenant.")
@output.output_option
@state_option
def usage(by: str, tenant: str | None, output_format: str, state: Path) -> None:
    """Print tokens and cost."""
    groups = tuple(by.split(","))
    try:
        sums = _running(state).usage(groups, tenant)
    except RunningError as error:
        output.fail(str(error), status=output.BAD_INPUT)
    if output_format == "json":
        output.json_document(
            [
                {
                    **dict(zip(groups, each.group, strict=True)),
                    "requests": each.requests,
                    "tokensIn": each.tokens_in,
                    "tokensOut": each.tokens_out,
                    "costs": {
                        currency: f"{amount.normalize():f}" for currency, amount in each.costs
                    },
                    "unpriced": each.unpriced,
                    "states": dict(each.states),
                }
                for each in sums
            ]
        )
        return
    output.table(
        (*(name.upper() for name in groups), "REQUESTS", "TOKENS IN", "TOKENS OUT", "COST"),
        [
            (
                *each.group,
                str(each.requests),
                str(each.tokens_in),
                str(each.tokens_out),
                _cost(dict(each.costs), each.unpriced),
            )
            for each in sums
        ],
    )


def _cost(costs: Mapping[str, Any], unpriced: int) -> str:
    parts = [f"{amount.normalize():f} {currency}" for currency, amount in sorted(costs.items())]
    if unpriced:
        parts.append(f"{unpriced} without a price")
    return ", ".join(parts)
