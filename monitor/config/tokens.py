"""The file that says which tokens are good for what.

What lives here: reading it, with every fault and its line. What must not: comparing tokens (`monitor.http.auth`).

The file is YAML, each scope with a list of tokens or of their digests (`printf %s TOKEN | sha256sum`):

    ingest: ["sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"]
    read: ["a-token-of-16-characters-or-more"]
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path

from monitor.config.document import Document, DocumentError, Fault, parse_document
from monitor.errors import OperatorError
from monitor.http.auth import SCOPES, token_digest

SHORTEST_TOKEN = 16

_DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")


def read_tokens(path: Path) -> dict[str, tuple[str, ...]]:
    """Digests (SHA-256, lower-case hex) by scope.

    Raises OperatorError where the file cannot be read or others may read it, DocumentError with all faults in it.
    """
    try:
        mode = path.stat().st_mode
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError("the tokens file cannot be read", where=str(path), got=error.strerror) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise OperatorError(
            "others may read the tokens file",
            where=str(path),
            expected="mode 0600",
            got=f"{stat.S_IMODE(mode):04o}",
            hint=f"Run: chmod 600 {path}",
        )
    document = parse_document(content, str(path))
    tokens: dict[str, tuple[str, ...]] = {}
    faults = [*document.faults, *_collect(document, tokens)]
    if faults:
        raise DocumentError(faults, where=str(path))
    return tokens


def _collect(document: Document, tokens: dict[str, tuple[str, ...]]) -> Iterator[Fault]:
    """Fill `tokens`, yielding what is wrong; a token itself is never part of a message."""
    if not isinstance(document.data, dict) or not document.data:
        yield Fault(None, (), "expected scopes with lists of tokens, such as ingest: [sha256:…]")
        return
    for scope, entries in document.data.items():
        if scope not in SCOPES:
            yield document.fault((scope,), f"unknown scope (expected {', '.join(SCOPES)})")
        elif not isinstance(entries, list) or not entries:
            yield document.fault((scope,), "expected a list of tokens or sha256: digests")
        else:
            good, bad = [], []
            for index, entry in enumerate(entries):
                digest = _digest_of(entry)
                if digest is None:
                    bad.append(index)
                else:
                    good.append(digest)
            tokens[scope] = tuple(good)
            for index in bad:
                expected = f"text of at least {SHORTEST_TOKEN} visible ASCII characters, or sha256: and 64 hex digits"
                yield document.fault((scope, index), f"not a token (expected {expected})")


def _digest_of(entry: object) -> str | None:
    if not isinstance(entry, str):
        return None
    if entry.startswith("sha256:"):
        match = _DIGEST.fullmatch(entry)
        return match.group(1).lower() if match else None
    sendable = entry.isascii() and entry.isprintable() and " " not in entry
    return token_digest(entry) if sendable and len(entry) >= SHORTEST_TOKEN else None
