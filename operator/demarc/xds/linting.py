"""Does the configuration keep what Demarc promises? Invariants proved on what was rendered.

The linter reads the rendered resources, or those that Envoy reports, and knows of the translator
only the names. So a mistake in one of them is found by the other. It takes what it does not know
for a violation.

| id | statement |
|---|---|
| I1 | every listener strips the decision headers before anything reads them |
| I2 | every route but a direct response needs the decision header |
| I3 | nothing switches the agent off, and nothing behind it chooses another route |
| I4 | without the guard only the endpoints of this gateway can be reached |
| I5 | every cluster that leads out carries the guard |
| I6 | no cluster stands for several others |
| I7 | logs, traces and configuration stay on this machine |
| I8 | no redirect, upgrade, tunnel or address chosen by a caller |
| I9 | what is kept or shown of an agent's answer is listed by name and holds no grant |
| I10 | the body passes untouched, under the same limit in every tier |
| I11 | no secret, no name to be resolved, no address outside the site's networks |
| I12 | each connection proves one exact SPIFFE name |
| I13 | credentials and grants go as far as they must, and nothing unknown passes |
| I14 | one cluster for each endpoint and none besides |
"""

from __future__ import annotations

from demarc.xds import lint_clusters, lint_listeners, lint_routes
from demarc.xds.resources import Resources
from demarc.xds.settings import GatewaySettings
from demarc.xds.view import View
from demarc.xds.violations import Violation


def lint(resources: Resources, view: View, settings: GatewaySettings) -> tuple[Violation, ...]:
    """Every invariant that the configuration breaks; empty when it keeps them all.

    Args:
        resources: what is configured, from `resources.read_files` or `read_dump`.
        view: what the gateway should know of the policy.
        settings: the gateway's own values.
    """
    return (
        *lint_listeners.check(resources, view, settings),
        *lint_routes.check(resources, view),
        *lint_clusters.check(resources, view, settings),
    )
