"""Which worlds and requests are the laws tried on? Small ones, in which rules meet each other.

A world is the manifests of a few sites, deployments, residency objects and policies over few names,
so that rows often speak of the same thing. `tests/unit/policy/test_strategies.py` checks that the
worlds are neither empty nor all alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Capability, Category
from demarc.policy.decision import Finding, Findings, Needs, Request
from demarc.policy.epoch import ClientIdentity, Epoch
from support import builders
from support.builders import NOW
from support.oracle import Ask

TENANTS = ("retail", "hr")
APPS = ("faq", "copilot")
MODELS = ("auto", "small")
DEPLOYMENTS = (("models", "big"), ("models", "small"), ("retail", "own"))
COUNTRIES = ("CN", "SG", "US")
KINDS = ("PI", "TXN", "SECRET", "PAN", "HEALTH", "MNPI", "SRC")
PURPOSES = ("Service", "Sales")
CONTEXTS = (100, 1000)
TIMES = st.sampled_from([NOW - timedelta(days=400), NOW, NOW + timedelta(days=400)])
"""Before, at and after: registrations end a year around NOW."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """Manifests, as plain JSON."""

    manifests: tuple[Row, ...]

    def epoch(self, *, public: bool = True) -> Epoch:
        """The compiled world: every client has a key."""
        epoch = builders.epoch_of(
            self.manifests,
            credentials=CREDENTIALS,
        )
        return epoch if public else epoch.closed("for the test")

    def of(self, kind: str) -> tuple[Row, ...]:
        """The manifests of one kind."""
        return tuple(each for each in self.manifests if each["kind"] == kind)

    def having(self, manifest: Row) -> World:
        """The same with one more object, or with one replaced."""
        others = [each for each in self.manifests if _address(each) != _address(manifest)]
        return World((*others, manifest))

    def without(self, manifest: Row) -> World:
        """The same with one object less."""
        return World(tuple(each for each in self.manifests if _address(each) != _address(manifest)))


CREDENTIALS: Mapping[str, str] = {
    f"{kind}:{tenant}/{app}-{number}{'/key' if kind == 'secret' else ''}": f"{tenant}{app}{number}"
    for kind in ("secret", "serviceaccount")
    for tenant in TENANTS
    for app in APPS
    for number in (1, 2)
}


def _address(manifest: Mapping[str, Any]) -> tuple[str, str, str]:
    meta = manifest["metadata"]
    return manifest["kind"], meta.get("namespace", ""), meta["name"]


def some(values: tuple[str, ...], *, least: int = 1) -> st.SearchStrategy[list[str]]:
    """Some of these values, in any order, each once."""
    return st.lists(st.sampled_from(values), min_size=least, max_size=len(values), unique=True)


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """The first value in three of four cases."""
    return st.sampled_from([*[usual] * (3 * len(others)), *others])


def manifest(kind: str, name: str, spec: Row, namespace: str = "") -> Row:
    """An object of one of our kinds."""
    meta: Row = {"name": name, "uid": f"uid-{kind}-{name}", "generation": 1}
    if namespace:
        meta["namespace"] = namespace
    return {"apiVersion": "demarc.dev/v1alpha1", "kind": kind, "metadata": meta, "spec": spec}


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    """A mapping in which each field may be absent."""
    return st.fixed_dictionaries({}, optional=fields)


jurisdictions = mostly(["CN"], ["Unknown"], ["US"], ["CN", "SG"])


def sites(name: str) -> st.SearchStrategy[Row]:
    """The home, or a public site."""
    connection: Row = {"type": "InCluster"}
    if name != "home":
        secret = {"name": name, "key": "kubeconfig"}
        connection = {"type": "RemoteCluster", "remoteCluster": {"kubeconfigSecretRef": secret}}
    return st.fixed_dictionaries(
        {"processing": jurisdictions, "storage": jurisdictions, "control": jurisdictions}
    ).map(
        lambda where: manifest(
            "Site",
            name,
            {
                "connection": connection,
                "jurisdictions": where,
                "network": {"cidrs": ["10.0.0.0/16"]},
            },
        )
    )


@st.composite
def deployments(draw: st.DrawFn, namespace: str, name: str) -> Row:
    """A deployment on some sites, one of which may not exist."""
    context = draw(st.sampled_from(CONTEXTS))
    spec: Row = {
        "model": {
            "source": f"pvc://models/{name}",
            "digest": "sha256:" + "a" * 64,
            "servedName": name,
        },
        "offers": {
            "capabilities": draw(mostly(["Chat", "Tools"], ["Chat"], ["Tools"])),
            "contextTokens": context,
        },
        "engine": {
            "mode": "LLMAPI",
            "image": "nvcr.io/nvidia/tritonserver:26.07-trtllm-python-py3",
            "precision": "FP8",
            "parallelism": {"tensor": 1, "pipeline": 1},
            "limits": {"maxBatchSize": 1, "maxSequenceTokens": 1000, "maxBatchTokens": 1000},
        },
        "placements": [
            {"site": site, **draw(optional(price=prices))}
            for site in draw(mostly(["home", "sg"], ["home"], ["sg", "us"], ["us", "home", "sg"]))
        ],
        **draw(optional(price=prices)),
    }
    if namespace not in TENANTS or draw(st.booleans()):
        spec["allowedTenants"] = draw(mostly(["retail", "hr"], ["retail"], []))
    return manifest("ModelDeployment", name, spec, namespace)


amounts = st.sampled_from(["0", "0.000000001", "0.1", "0.7", "2.8"]).map(
    lambda amount: {"amount": amount, "currency": "USD"}
)
prices = st.fixed_dictionaries({"input": amounts, "output": amounts})

levels = st.integers(1, 5)


@st.composite
def residencies(draw: st.DrawFn, name: str) -> Row:
    """An object of compliance, with rows of each kind or none."""
    spec: Row = {}
    for field, rows in (
        ("floors", st.lists(floors, max_size=draw(mostly(0, 2)))),
        ("registrations", st.lists(registrations(), min_size=1, max_size=draw(mostly(1, 2)))),
        ("clearances", st.lists(clearances, min_size=1, max_size=draw(mostly(1, 2)))),
        ("rules", st.lists(rules, min_size=draw(mostly(0, 1)), max_size=2)),
    ):
        if found := draw(rows):
            spec[field] = [{**row, "name": f"{name}-{i}"} for i, row in enumerate(found)]
    return manifest("DataResidency", name, spec)


floors: st.SearchStrategy[Row] = st.builds(
    lambda base, more: {**base, **more},
    st.fixed_dictionaries({"tenants": some(TENANTS), "level": st.sampled_from([1, 2, 2, 3, 4])}),
    optional(apps=some(APPS)),
)


@st.composite
def registrations(draw: st.DrawFn) -> Row:
    """A registration that has ended, or one that has not."""
    app, tenant = draw(mostly(*APPS)), draw(mostly(*TENANTS))
    return {
        "name": "",
        "tenant": tenant,
        "app": app,
        "clients": draw(
            st.lists(
                mostly(*(credential(app, number) for number in (1, 2))),
                min_size=1,
                max_size=2,
                unique_by=str,
            )
        ),
        "floor": draw(mostly(1, 2, 3)),
        "origins": draw(some(COUNTRIES)),
        "purposes": draw(some(PURPOSES)),
        "expires": draw(mostly("2027-06-30T00:00:00Z", "2026-06-30T00:00:00Z")),
    }


def credential(app: str, number: int) -> Row:
    """The first client of an app calls with a key, the second with a token."""
    if number == 1:
        return {"apiKeySecretRef": {"name": f"{app}-1", "key": "key"}}
    return {"serviceAccountRef": {"name": f"{app}-2"}}


def identity(tenant: str, app: str, number: int) -> ClientIdentity:
    """What the credential of that client proves."""
    name = f"secret:{tenant}/{app}-1/key" if number == 1 else f"serviceaccount:{tenant}/{app}-2"
    return ClientIdentity(tenant, app, f"{app}-{number}", name)


clearances: st.SearchStrategy[Row] = st.builds(
    lambda names, clears: {"sites": names, **clears},
    mostly(["sg"], ["home", "sg"], ["us", "sg"], ["home"]),
    st.sampled_from(
        [
            {"maxLevel": 5, "unclassified": "Accept"},
            {"maxLevel": 5, "unclassified": "Accept"},
            {"maxLevel": 5, "unclassified": "Accept"},
            {"maxLevel": 5, "unclassified": "Refuse"},
            {"maxLevel": 3, "unclassified": "Refuse"},
            {"maxLevel": 1, "unclassified": "Refuse"},
        ]
    ),
)
within = st.one_of(st.just(["Any"]), st.just(["Any"]), st.just(["CN"]), some(COUNTRIES))
scopes = some(("Private", "Public"))
rules: st.SearchStrategy[Row] = st.fixed_dictionaries(
    {
        "appliesTo": optional(
            level=levels.map(lambda level: {"atLeast": level}),
            origins=some(COUNTRIES).map(lambda where: {"hasAny": where}),
            categories=some(KINDS).map(lambda kinds: {"hasAny": kinds}),
            tenants=some(TENANTS),
        ),
        "require": st.fixed_dictionaries(
            {
                "scopes": st.one_of(scopes, st.just(["Private"]), st.just(["Private", "Public"])),
                "processing": within,
                "storage": within,
                "control": within,
            }
        ),
    }
)
targets = st.one_of(
    st.just(list(DEPLOYMENTS)), st.lists(st.sampled_from(DEPLOYMENTS), min_size=1, unique=True)
).map(lambda names: [{"namespace": namespace, "name": name} for namespace, name in names])
whens = optional(
    apps=some(APPS),
    level=levels.map(lambda level: {"atMost": level}),
    categories=some(KINDS).map(lambda kinds: {"notIn": kinds}),
    purposes=some(PURPOSES),
)


GENEROUS: Row = {
    "scopes": ["Private", "Public"],
    "targets": [{"namespace": namespace, "name": name} for namespace, name in DEPLOYMENTS],
}


@st.composite
def permits(draw: st.DrawFn) -> Row:
    """A permit row, often with conditions."""
    when = draw(whens)
    row = {
        "scopes": draw(mostly(["Private", "Public"], ["Private"], ["Public"])),
        "targets": draw(targets),
    }
    return {**row, "when": when} if when else row


@st.composite
def policies(draw: st.DrawFn, tenant: str) -> Row:
    """The one policy of a tenant, with both apps and two clients for each."""
    return manifest(
        "RoutingPolicy",
        "chat",
        {
            "clients": [
                {"name": f"{app}-{number}", "app": app, **credential(app, number)}
                for app in APPS
                for number in (1, 2)
            ],
            "models": [{"name": model, "targets": draw(targets)} for model in MODELS],
            "permit": [
                {"name": f"row-{i}", **row}
                for i, row in enumerate(
                    (
                        *draw(st.sampled_from([(GENEROUS,), ()])),
                        *draw(st.lists(permits(), max_size=3)),
                    )
                )
            ],
            "order": draw(st.sampled_from(["Cheapest", "Listed"])),
        },
        tenant,
    )


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Three sites, up to three deployments, up to two objects of compliance, two policies."""
    chosen = draw(mostly(DEPLOYMENTS, DEPLOYMENTS[:1], DEPLOYMENTS[1:]))
    owners = draw(mostly(("bank",), (), ("bank", "group")))
    return World(
        (
            *(draw(sites(name)) for name in ("home", "sg", "us")),
            *(draw(deployments(namespace, name)) for namespace, name in chosen),
            *(draw(residencies(name)) for name in owners),
            *(draw(policies(tenant)) for tenant in TENANTS),
        )
    )


@st.composite
def asks(draw: st.DrawFn) -> tuple[ClientIdentity, Ask]:
    """A request, for the oracle; `request_of` makes the same one for policy."""
    tenant, app = draw(mostly(*TENANTS)), draw(mostly(*APPS))
    caller = identity(tenant, app, draw(mostly(1, 2)))
    return caller, Ask(
        tenant=tenant,
        app=app,
        credential=caller.credential,
        model=draw(mostly("auto", "small", "unlisted")),
        capabilities=draw(mostly(("Chat",), ("Chat", "Tools"), ())),
        tokens=draw(st.sampled_from([0, 100, 101, 101, 1001])),
        level=draw(mostly(1, 2, 3, 4, 5, 6)),
        categories=tuple(
            draw(st.one_of(st.just([]), st.just([]), some(KINDS).map(lambda k: k[:2])))
        ),
        failed=draw(mostly(False, True)),
    )


def request_of(caller: ClientIdentity, ask: Ask) -> Request:
    """The same request as the decision gets it: categories from detectors."""
    findings = tuple(
        Finding(f"pack/{kind.lower()}", 1, (Category(kind),), 1) for kind in ask.categories
    )
    return Request(
        caller=caller,
        model=ask.model,
        needs=Needs(
            frozenset(Capability(each) for each in ask.capabilities),
            prompt_tokens=ask.tokens // 2,
            max_tokens=ask.tokens - ask.tokens // 2 if ask.tokens else None,
        ),
        findings=Findings(findings, "time-out" if ask.failed else ""),
        raise_to=ask.level,
    )


def raised(request: Request, finding: Finding) -> Request:
    """The same request with one more finding."""
    found = (*request.findings.findings, finding)
    return replace(request, findings=replace(request.findings, findings=found))


findings_of_any_kind = st.builds(
    Finding,
    detector=st.just("pack/more"),
    level=st.integers(1, 6),
    categories=some(tuple(Category), least=0).map(
        lambda names: tuple(Category(name) for name in names)
    ),
    count=st.integers(1, 3),
)


def times() -> st.SearchStrategy[datetime]:
    """Before, at and after NOW."""
    return TIMES
