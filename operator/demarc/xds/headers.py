"""Which headers cross a gateway? Names, allow-lists, and the regular expression that enforces one.

Envoy removes headers by a matcher and has no allow-list. The names outside a finite list form a
regular language, so `outside` writes the allow-list as the expression of its complement.

INVARIANT: a name that stands in no list of this module is removed, in both directions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter

CLUSTER = "x-demarc-cluster"
"""The Envoy cluster to use: set by an agent, never by a client, gone behind the gateway."""
CLASS = "x-demarc-class"
"""`private` or `public`: whether the request may leave. The guard reads it."""
DECISION = "x-demarc-decision"
"""The decision's id."""
ENDPOINT = "x-demarc-endpoint"
"""The chosen endpoint, `NAMESPACE/DEPLOYMENT@SITE`."""
SITE = "x-demarc-site"
"""The site of the chosen endpoint; the answer carries it."""
MODEL = "x-demarc-model"
"""The served model name that the frontend uses."""
STREAM = "x-demarc-stream"
"""`1` when the caller asked for a stream."""
GRANT = "x-demarc-grant"
"""The inner gateway's signed statement, only on the way out."""
FAR = "x-demarc-far"
"""Set by the egress gateway on every answer that it did not give by its own policy."""
STATUS = "x-demarc-status"
"""`503` on a refusal of an agent that must reach the client with that status.

ext_authz takes a 5xx of the decision service for a failure and drops its body.
"""
USAGE = "x-demarc-usage"
"""The trailer in which a frontend reports tokens."""

PUBLIC = "public"
"""The value of CLASS that the guard lets out."""

DEMARC_PREFIX = "x-demarc-"
ENVOY_PREFIX = "x-envoy-"

CREDENTIALS = ("api-key", "authorization", "x-api-key")
"""What proves a client: it travels to the egress gateway and no further."""
RAISE = "demarc-level"
"""A client's wish for a higher level; the egress gateway computes the label again with it."""

SCHEME = "x-forwarded-proto"
"""Envoy matches no route without it, so only the route itself removes it."""

CONTENT = ("accept", "content-length", "content-type")
"""What describes a body that goes on untouched."""

ANSWER = ("cache-control", "content-length", "content-type", "retry-after", "www-authenticate")
"""Response headers that pass every gateway; `server` and `date` are each gateway's own."""

ALLOW = (CLASS, CLUSTER, DECISION, ENDPOINT, GRANT, MODEL, SITE, STREAM)
"""What an agent may add to a request that it allows."""
METADATA = (CLASS, CLUSTER, DECISION, ENDPOINT, SITE, STATUS)
"""What of an agent's answer is kept as metadata, for the guard and the log; no grant."""
CHALLENGES = ("allow", "www-authenticate")
"""What only a refusal of this gateway says: an engine that asks for a password asks for a theft."""
OWN = (*ALLOW, STATUS, USAGE)
"""What no server may say in a header of its answer."""
DENY = ("allow", "content-type", DECISION, "retry-after", "www-authenticate")
"""What of an agent's refusal reaches the caller."""


def outside(names: Iterable[str], *, prefix: str = "") -> str:
    """An RE2 expression that matches, as a whole, each header name that is not in `names`.

    Pseudo headers (`:path`) never match. With a prefix only names that start with it match.

    Args:
        names: lower-case header names that stay.
        prefix: the family of names that is concerned; others neither match nor count.
    """
    words = sorted({name[len(prefix) :] for name in names if name.startswith(prefix)})
    if prefix:
        return _literal(prefix) + _complement(words)
    return _complement([word for word in words if word[:1] != ":"], never=":", empty=False)


def _complement(words: Sequence[str], *, never: str = "", empty: bool = True) -> str:
    """Matches each text that is not a word; `words` are sorted and distinct."""
    families = {
        letter: [word[1:] for word in family]
        for letter, family in groupby((word for word in words if word), key=itemgetter(0))
    }
    other = "".join(_in_class(letter) for letter in (*never, *families))
    branches = [f"[^{other}].*" if other else ".+"]
    branches += [_literal(letter) + _complement(family) for letter, family in families.items()]
    found = f"(?:{'|'.join(branches)})"
    return f"{found}?" if empty and "" not in words else found


def _in_class(letter: str) -> str:
    return f"\\{letter}" if letter in "]^\\-" else letter


def _literal(text: str) -> str:
    return "".join(f"\\{letter}" if letter in ".+*?()|[]{}^$\\" else letter for letter in text)
