"""Which epochs does a property test of the data plane try? Sites and addresses at random."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from demarc.api.v1alpha1.common import Scope
from demarc.policy.epoch import Clearance, Endpoint, Epoch, EpochNumber, SourceRef
from demarc.xds.settings import GatewaySettings

SETTINGS = GatewaySettings(
    node="demarc-inner-0",
    address="127.62.1.1",
    run="/run/demarc",
    tls="/etc/demarc/tls",
    client_tls="/etc/demarc/client-tls",
)
HOME = "dc"
SITES: Mapping[str, tuple[Scope, str]] = {
    HOME: (Scope.PRIVATE, "10.1.0.0/16"),
    "vault": (Scope.PRIVATE, "10.2.0.0/16"),
    "sg": (Scope.PUBLIC, "10.3.0.0/16"),
    "sg.b": (Scope.PUBLIC, "10.4.0.0/16"),
}


def endpoint(namespace: str, deployment: str, site: str) -> Endpoint:
    """An endpoint that matters for nothing but its place."""
    source = SourceRef("ModelDeployment", namespace, deployment, "uid", 1)
    somewhere = frozenset({"CN"})
    return Endpoint(
        namespace=namespace,
        deployment=deployment,
        site=site,
        scope=SITES[site][0],
        processing=somewhere,
        storage=somewhere,
        control=somewhere,
        served_name=deployment,
        capabilities=frozenset(),
        context_tokens=1,
        price=None,
        allowed_tenants=frozenset(),
        clearance=Clearance(4, accepts_unclassified=False, sources=()),
        source=source,
    )


def epoch(*endpoints: Endpoint, counter: int = 1, public_open: bool = True) -> Epoch:
    """An epoch with endpoints and nothing else."""
    return Epoch(
        number=EpochNumber(1, counter),
        hash="0" * 64,
        issued_at=datetime(2026, 12, 1, tzinfo=UTC),
        max_age=timedelta(minutes=15),
        home=HOME,
        endpoints=endpoints,
        apps={},
        api_keys={},
        service_accounts={},
        token_issuer=None,
        registrations=(),
        floors=(),
        rules=(),
        grant_keys=(),
        site_cidrs={site: (cidr,) for site, (_, cidr) in SITES.items()},
        public_open=public_open,
        public_reason="",
        packs={},
    )


_words = st.from_regex(r"[a-z]([a-z0-9-]{0,6}[a-z0-9])?", fullmatch=True)
endpoints = st.builds(endpoint, _words, _words, st.sampled_from(sorted(SITES)))
epochs = st.builds(
    lambda found, counter, public_open: epoch(
        *{item.name: item for item in found}.values(), counter=counter, public_open=public_open
    ),
    st.lists(endpoints, max_size=6),
    st.integers(1, 9),
    st.booleans(),
)
_hosts = st.one_of(
    st.builds("10.{}.{}.{}".format, st.integers(1, 5), st.integers(0, 9), st.integers(1, 9)),
    st.sampled_from(["8.8.8.8", "engine.example", "", "::1", "10.1.0.1/32", "0x0a010001"]),
)
replicas = st.lists(st.tuples(_hosts, st.integers(-1, 65536)), max_size=4).map(tuple)


@st.composite
def addressed(draw: st.DrawFn) -> tuple[Epoch, Mapping[str, tuple[tuple[str, int], ...]]]:
    """An epoch and addresses for some of its endpoints, good ones and others."""
    found = draw(epochs)
    names = [*(item.name for item in found.endpoints), "egress", "stray"]
    return found, draw(st.dictionaries(st.sampled_from(names), replicas))
