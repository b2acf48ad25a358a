"""What should a request reach? Section 4 of the design once more, naively, from the manifests.

Written from the design's text and not from the product's code: it shares no type, table or helper
with `demarc.policy`, reads the objects as plain JSON, and asks every endpoint in turn.
"""

# fmt: off
from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

LEADS_TO = {"ACCT": "SPI", "BIOMETRIC": "SPI", "MINOR": "SPI", "HEALTH": "SPI", "SPI": "PI",
            "SAD": "PAN", "CORE": "IMPORTANT"}
AT_LEAST = {"SPI": 3, "PAN": 3, "SAD": 4, "AUTHN": 4, "IMPORTANT": 5}
SENSITIVE = set("CREDIT DEPOSIT AML AUTHN SAD IMPORTANT CORE MNPI SECRET GDPR9".split())  # noqa: SIM905
TOP = 6


@dataclass(frozen=True)
class Ask:
    """A request, in plain words."""

    tenant: str
    app: str
    credential: str
    model: str
    capabilities: tuple[str, ...] = ("Chat",)
    tokens: int = 0
    level: int = 1
    categories: tuple[str, ...] = ()
    failed: bool = False


def eligible(
    manifests: list[Mapping[str, Any]], ask: Ask, now: datetime, *, public: bool
) -> set[str]:
    """Names of the endpoints that the request may reach."""
    return {name for name, why in judged(manifests, ask, now, public=public).items() if why is None}


def judged(
    manifests: list[Mapping[str, Any]], ask: Ask, now: datetime, *, public: bool
) -> dict[str, str | None]:
    """For every endpoint of the model's targets the first layer that removes it, or None."""
    kinds_of_rows = ("floors", "registrations", "clearances", "rules")
    rows = {kind: list(_rows(manifests, kind)) for kind in kinds_of_rows}
    policies = [p["spec"] for p in _of(manifests, "RoutingPolicy")
                if p["metadata"]["namespace"] == ask.tenant
                and any(c["app"] == ask.app for c in p["spec"]["clients"])]
    if len(policies) != 1:
        return {}
    targets = [(t["namespace"], t["name"]) for m in policies[0]["models"]
               if m["name"] == ask.model for t in m["targets"]]

    mine = [r for r in rows["registrations"] if (r["tenant"], r["app"]) == (ask.tenant, ask.app)]
    proper = [r for r in mine if len(mine) == 1 and now < datetime.fromisoformat(r["expires"])
              and ask.credential in [_credential(ask.tenant, c) for c in r["clients"]]]
    floors = [f["level"] for f in rows["floors"]
              if ask.tenant in f["tenants"] and ask.app in f.get("apps", [ask.app])]
    level = max([proper[0]["floor"] if proper else 3, ask.level, *floors])
    origins = set(proper[0]["origins"]) if proper else None  # None: all of them
    purposes = set(proper[0]["purposes"]) if proper else set[str]()
    kinds = set(ask.categories)
    while more := {LEADS_TO[k] for k in kinds if k in LEADS_TO} - kinds:
        kinds |= more
    level = TOP if ask.failed else max([level, *(AT_LEAST.get(k, 1) for k in kinds)])
    sensitive = level >= 3 or bool(kinds & SENSITIVE)

    def why(deployment: Mapping[str, Any], site: Mapping[str, Any]) -> str | None:
        name, private = site["metadata"]["name"], site["spec"]["connection"]["type"] == "InCluster"
        over = [c for c in rows["clearances"] if name in c["sites"]]
        highest = min([c["maxLevel"] for c in over], default=4 if private else 2)
        takes_top = bool(over) and highest == 5 and all(c["unclassified"] == "Accept" for c in over)
        cleared = takes_top if level == TOP else level <= highest
        if not cleared or (not private and (sensitive or not public)):
            return "E1"
        for rule in rows["rules"]:
            test, need, law = rule["appliesTo"], rule["require"], site["spec"]["jurisdictions"]
            applies = (level >= test.get("level", {"atLeast": 1})["atLeast"]
                       and ask.tenant in test.get("tenants", [ask.tenant])
                       and ("origins" not in test or origins is None
                            or origins & set(test["origins"]["hasAny"]))
                       and ("categories" not in test or kinds & set(test["categories"]["hasAny"])))
            holds = ("Private" if private else "Public") in need["scopes"] and all(
                "Any" in need[sense] or set(law[sense]) <= set(need[sense])
                for sense in ("processing", "storage", "control"))
            if applies and not holds:
                return "E2"
        own = deployment["metadata"]["namespace"]
        if ask.tenant not in [own, *deployment["spec"].get("allowedTenants", [])]:
            return "E3"
        for row in policies[0]["permit"]:
            when = row.get("when", {})
            if (("Private" if private else "Public") in row["scopes"]
                    and {"namespace": own, "name": deployment["metadata"]["name"]} in row["targets"]
                    and ask.app in when.get("apps", [ask.app])
                    and level <= when.get("level", {"atMost": TOP})["atMost"]
                    and not kinds & set(when.get("categories", {"notIn": []})["notIn"])
                    and ("purposes" not in when or purposes & set(when["purposes"]))):
                break
        else:
            return "E3"
        offers = deployment["spec"]["offers"]
        able = set(ask.capabilities) <= set(offers["capabilities"])
        return None if able and ask.tokens <= offers["contextTokens"] else "E4"

    sites = {s["metadata"]["name"]: s for s in _of(manifests, "Site")}
    placed = [(d, d["metadata"], p["site"]) for d in _of(manifests, "ModelDeployment")
              for p in d["spec"]["placements"] if p["site"] in sites]
    return {f"{meta['namespace']}/{meta['name']}@{site}": why(d, sites[site])
            for d, meta, site in placed if (meta["namespace"], meta["name"]) in targets}


def _of(manifests: list[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (each for each in manifests if each["kind"] == kind)


def _rows(manifests: list[Mapping[str, Any]], field: str) -> Iterator[Mapping[str, Any]]:
    return (row for each in _of(manifests, "DataResidency") for row in each["spec"].get(field, []))


def _credential(tenant: str, client: Mapping[str, Any]) -> str:
    if key := client.get("apiKeySecretRef"):
        return f"secret:{tenant}/{key['name']}/{key['key']}"
    return f"serviceaccount:{tenant}/{client['serviceAccountRef']['name']}"
