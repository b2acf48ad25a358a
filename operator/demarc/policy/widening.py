"""What does a change newly let out? Computed over all labels, and shown with a request for each.

A widening is one of two things:
    an app gains, for some content of its requests, an endpoint that is Public, or that lies outside
    the jurisdictions which the app reached before with that content and outside those of the
    private sites;
    a credential, a changed key included, newly proves an app whose requests may be below level 3.

Why this covers all labels although it does not visit them one by one: what a request reaches only
shrinks as its content rises (level, categories), in the old epoch as in the new one. So if any
content gains an endpoint, a highest content that still reaches it in the new epoch gains it too.
For one permit row and one level there is exactly one highest content, since every test of a label's
categories asks that the label has none of some set. Tests compare this with a visit of all labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from demarc.api.v1alpha1.common import Category, Scope
from demarc.policy import label as labels
from demarc.policy import permission, tables
from demarc.policy.epoch import ClientIdentity, Endpoint, Epoch, Permit
from demarc.policy.label import DEFAULT_FLOOR, TOP, Label
from demarc.policy.tables import AppTable, Grounds

UNKNOWN = "Unknown"


class WideningKind(StrEnum):
    """What is new."""

    ENDPOINT = "Endpoint"
    CREDENTIAL = "Credential"


@dataclass(frozen=True, slots=True)
class Widening:
    """One thing that a change newly lets out.

    Attributes:
        endpoint: the endpoint that is gained; empty for a credential.
        label: the lowest example: of a request that gains the endpoint.
        levels: all levels at which some content gains it.
        request: an example, in the words of `demarc explain`.
        sentence: for people, without a full stop.
    """

    kind: WideningKind
    tenant: str
    app: str
    client: str
    endpoint: str
    label: Label
    levels: tuple[int, ...]
    request: Mapping[str, Any]
    sentence: str


def widening(old: Epoch | None, new: Epoch, now: datetime) -> tuple[Widening, ...]:
    """Everything that `new` lets out and `old` did not, sorted; empty for a narrowing.

    Args:
        old: the epoch in force; None before the first one: all that leaves is new.
        new: the epoch that would follow.
        now: with a zone; both are judged at this time.
    """
    found = {
        (each.tenant, each.app, each.kind, each.endpoint, each.client): each
        for key in sorted(new.apps)
        for each in (*_endpoints(key, old, new, now), *_credentials(key, old, new, now))
    }
    return tuple(found[key] for key in sorted(found))


@dataclass(frozen=True, slots=True)
class _Start:
    """How requests of one client start now, and how such requests could start before."""

    client: ClientIdentity
    now: Grounds
    before: tuple[Grounds, ...]


@dataclass(frozen=True, slots=True)
class _Content:
    """What a request says, whoever sends it: it raises the label to at least this."""

    level: int
    categories: frozenset[Category]

    def label(self, grounds: Grounds) -> Label:
        return labels.close(max(self.level, grounds.floor), self.categories, grounds.origins)


def _clients(key: tuple[str, str], epoch: Epoch) -> list[ClientIdentity]:
    everyone = (*epoch.api_keys.values(), *epoch.service_accounts.values())
    mine = [each for each in everyone if (each.tenant, each.app) == key]
    return sorted(mine, key=lambda each: each.client)


def _starts(key: tuple[str, str], old: Epoch | None, new: Epoch, now: datetime) -> Iterator[_Start]:
    """One start for each different pair of before and now among the app's clients."""
    earlier = _clients(key, old) if old else []
    old_table = old.tables.apps.get(key) if old else None
    table = new.tables.apps[key]
    seen = set[tuple[int, tuple[int, ...]]]()
    for client in _clients(key, new):
        same = [each for each in earlier if each.credential == client.credential]
        before = (
            _distinct(old_table.grounds(each.credential, now) for each in same or earlier)
            if old_table
            else ()
        )
        grounds = table.grounds(client.credential, now)
        mark = (id(grounds), tuple(id(each) for each in before))
        if mark not in seen:
            seen.add(mark)
            yield _Start(client, grounds, before)


def _distinct(grounds: Iterable[Grounds]) -> tuple[Grounds, ...]:
    return tuple({id(each): each for each in grounds}.values())


def _endpoints(
    key: tuple[str, str], old: Epoch | None, new: Epoch, now: datetime
) -> Iterator[Widening]:
    table = new.tables.apps[key]
    old_table = old.tables.apps.get(key) if old else None
    home = _private_jurisdictions(old) if old else _private_jurisdictions(new)
    for start in _starts(key, old, new, now):
        before = _Before(old, old_table, start.before, home)
        highest = _Highest(new, start.now)
        for endpoint in highest.reachable(table):
            gains = [
                (content, row)
                for row in table.app.permits
                if tables.names(row, endpoint, table.app.tenant)
                and tables.is_for(row, table.app.name, start.now.purposes)
                for content in highest.contents(endpoint, row)
                if before.is_widened_by(endpoint, content)
            ]
            if gains:
                yield _gain(start, table, endpoint, gains, before)


@dataclass(frozen=True, slots=True)
class _Before:
    """What an app reached in the old epoch."""

    epoch: Epoch | None
    table: AppTable | None
    grounds: tuple[Grounds, ...]
    home: tuple[frozenset[str], ...]

    def reached(self, content: _Content) -> Mapping[str, Endpoint]:
        """The endpoints that requests with this content reached, by name."""
        if self.epoch is None or self.table is None:
            return {}
        mask = 0
        for grounds in self.grounds:
            mask |= permission.permitted_mask(self.epoch, grounds, content.label(grounds))
        mask &= _targets(self.table)
        return {endpoint.name: endpoint for endpoint in self.epoch.tables.members(mask)}

    def is_widened_by(self, endpoint: Endpoint, content: _Content) -> bool:
        """Whether reaching an endpoint with this content is a widening."""
        reached = self.reached(content)
        same = reached.get(endpoint.name)
        if endpoint.scope is Scope.PUBLIC and (same is None or same.scope is not Scope.PUBLIC):
            return True
        earlier = list(self.home)
        for each in reached.values():
            earlier = [
                known | has for known, has in zip(earlier, _jurisdictions(each), strict=True)
            ]
        own = _jurisdictions(same) if same else (frozenset[str](),) * len(earlier)
        # `Unknown` lies within nothing but the very endpoint that had it
        return any(
            not has <= (known - {UNKNOWN}) | mine
            for has, known, mine in zip(_jurisdictions(endpoint), earlier, own, strict=True)
        )


class _Highest:
    """The highest contents with which requests reach an endpoint in the new epoch."""

    def __init__(self, epoch: Epoch, grounds: Grounds) -> None:
        self._epoch = epoch
        self._grounds = grounds
        self._with: dict[int, dict[Category, int]] = {}
        for level in range(grounds.floor, TOP + 1):
            alone = {each: labels.close(level, (each,), grounds.origins) for each in Category}
            self._with[level] = {
                each: permission.cleared_mask(epoch, grounds, label)
                for each, label in alone.items()
                if label.level == level
            }

    def reachable(self, table: AppTable) -> tuple[Endpoint, ...]:
        """What the lowest content reaches: no other content reaches more."""
        lowest = self._grounds.labels[self._grounds.floor]
        mask = permission.permitted_mask(self._epoch, self._grounds, lowest)
        return self._epoch.tables.members(mask & _targets(table))

    def contents(self, endpoint: Endpoint, row: Permit) -> Iterator[_Content]:
        """For each level, the one highest content that reaches an endpoint by a permit row."""
        bit = 1 << self._epoch.tables.endpoints.index(endpoint)
        for level in range(self._grounds.floor, (row.at_most or TOP) + 1):
            label = self._grounds.labels[level]
            if not permission.cleared_mask(self._epoch, self._grounds, label) & bit:
                return
            categories = frozenset(
                category
                for category, mask in self._with[level].items()
                if mask & bit and row.not_in.isdisjoint(labels.implied(category))
            )
            yield _Content(level, categories)


def _gain(
    start: _Start,
    table: AppTable,
    endpoint: Endpoint,
    gains: list[tuple[_Content, Permit]],
    before: _Before,
) -> Widening:
    content, row = min(gains, key=lambda gain: gain[0].level)
    # Leave out what the example does not need. It still reaches the endpoint: less content
    # reaches more.
    for category in sorted(content.categories, reverse=True):
        less = _Content(content.level, content.categories - {category})
        if before.is_widened_by(endpoint, less):
            content = less
    label = content.label(start.now)
    client, levels = start.client, tuple(sorted({each.level for each, _ in gains}))
    place = "; ".join(
        f"{sense} {{{', '.join(sorted(has))}}}"
        for sense, has in zip(
            ("processing", "storage", "control"), _jurisdictions(endpoint), strict=True
        )
    )
    named = ", ".join(labels.level_name(level) for level in levels)
    return Widening(
        kind=WideningKind.ENDPOINT,
        tenant=client.tenant,
        app=client.app,
        client=client.client,
        endpoint=endpoint.name,
        label=label,
        levels=levels,
        request=_example(client, _model(table, endpoint), label),
        sentence=(
            f"app `{client.tenant}/{client.app}` at level {named} gains `{endpoint.name}` "
            f"({endpoint.scope}; {place}) by {row.source}"
        ),
    )


def _credentials(
    key: tuple[str, str], old: Epoch | None, new: Epoch, now: datetime
) -> Iterator[Widening]:
    earlier = _lowered(key, old, now) if old else {}
    for mark, (client, grounds) in _lowered(key, new, now).items():
        if mark in earlier:
            continue
        label = grounds.labels[grounds.floor]
        yield Widening(
            kind=WideningKind.CREDENTIAL,
            tenant=client.tenant,
            app=client.app,
            client=client.client,
            endpoint="",
            label=label,
            levels=tuple(range(grounds.floor, DEFAULT_FLOOR)),
            request=_example(client, min(new.apps[key].models, default=""), label),
            sentence=(
                f"client `{client.client}` newly proves app `{client.tenant}/{client.app}`, whose "
                f"requests start at level {labels.level_name(grounds.floor)}"
            ),
        )


def _lowered(
    key: tuple[str, str], epoch: Epoch, now: datetime
) -> Mapping[tuple[str, str], tuple[ClientIdentity, Grounds]]:
    """What proves the app with a floor below the default: by kind and what stands behind it."""
    table = epoch.tables.apps.get(key)
    found = dict[tuple[str, str], tuple[ClientIdentity, Grounds]]()
    for client in _clients(key, epoch) if table else ():
        grounds = table.grounds(client.credential, now) if table else None
        if grounds is not None and grounds.floor < DEFAULT_FLOOR:
            behind = epoch.credentials.get(client.credential, "")
            is_key = client.credential.startswith("secret:")
            found["key" if is_key else client.credential, behind] = (client, grounds)
    return found


def _example(client: ClientIdentity, model: str, label: Label) -> Mapping[str, Any]:
    return {
        "tenant": client.tenant,
        "app": client.app,
        "client": client.client,
        "model": model,
        "level": labels.level_name(label.level),
        "categories": [each.value for each in sorted(label.categories)],
        "origins": sorted(label.origins),
    }


def _model(table: AppTable, endpoint: Endpoint) -> str:
    return min(name for name, model in table.models.items() if endpoint.target in model.targets)


def _targets(table: AppTable) -> int:
    mask = 0
    for model in table.models.values():
        mask |= model.mask
    return mask


def _jurisdictions(endpoint: Endpoint) -> tuple[frozenset[str], ...]:
    return (endpoint.processing, endpoint.storage, endpoint.control)


def _private_jurisdictions(epoch: Epoch) -> tuple[frozenset[str], ...]:
    """Where the premises are, in the three senses: what is in-country."""
    sites = [site for site in epoch.sites.values() if site.scope is Scope.PRIVATE]
    return (
        frozenset[str]().union(*(site.processing for site in sites)),
        frozenset[str]().union(*(site.storage for site in sites)),
        frozenset[str]().union(*(site.control for site in sites)),
    )
