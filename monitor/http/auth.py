"""Who may speak to the daemon: what a presented token is good for.

What lives here: scopes, digests, comparing. What must not: the tokens file (`monitor.config.tokens`), HTTP, routes.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

Scope = Literal["ingest", "read", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
# An admin may do everything; the others only what they are for.
GRANTS: Mapping[Scope, frozenset[Scope]] = {
    "ingest": frozenset({"ingest"}),
    "read": frozenset({"read"}),
    "admin": frozenset(SCOPES),
}


def token_digest(token: str) -> str:
    """SHA-256 of a token in lower-case hex."""
    return hashlib.sha256(token.encode()).hexdigest()


def scopes_of(token: str, digests: Mapping[str, Sequence[str]]) -> frozenset[Scope]:
    """Scopes that a presented token is good for; takes the same time whichever digest it is, or none."""
    presented = token_digest(token)
    granted: frozenset[Scope] = frozenset()
    for scope in SCOPES:
        for digest in digests.get(scope, ()):
            if hmac.compare_digest(presented, digest):
                granted |= GRANTS[scope]
    return granted
