"""delta-rs, the only module that loads it: with an allocator that gives large pieces back at once.

What lives here: what is used of delta-rs, and how it treats memory. What must not: tables of the log (`tables`).

By itself its allocator keeps what was freed for ten seconds, in pieces that later writes may not fit into: the memory
of a long ingestion grew in steps, by up to a tenth. Pieces of half a megabyte and more are now given back when they are
freed, the others after a second; writing takes a tenth longer.
"""

from __future__ import annotations

import os

SETTINGS = "oversize_threshold:524288,dirty_decay_ms:1000,muzzy_decay_ms:0"
# Read once, when the library is loaded. An operator's own settings stand.
_VARIABLE = "_RJEM_MALLOC_CONF"
_is_ours = _VARIABLE not in os.environ
os.environ.setdefault(_VARIABLE, SETTINGS)

from deltalake import (  # noqa: E402
    ColumnProperties,
    CommitProperties,
    DeltaTable,
    PostCommitHookProperties,
    Transaction,
    WriterProperties,
    write_deltalake,
)
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError  # noqa: E402

# Programs that are begun from here have allocators of their own.
if _is_ours:
    del os.environ[_VARIABLE]

__all__ = [
    "SETTINGS",
    "ColumnProperties",
    "CommitFailedError",
    "CommitProperties",
    "DeltaError",
    "DeltaTable",
    "PostCommitHookProperties",
    "TableNotFoundError",
    "Transaction",
    "WriterProperties",
    "write_deltalake",
]
