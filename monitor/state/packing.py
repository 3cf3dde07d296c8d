"""The JSON of a window as SQLite keeps it: compressed, since it is by far the largest thing that stays for good.

What lives here: packing and unpacking. What must not: what the text says, statements.

SQLite takes a blob in a column of texts, so that what older versions wrote stays as it is and readable. PostgreSQL
compresses long texts by itself.
"""

from __future__ import annotations

import zlib

# More saves some percent and takes several times as long.
_LEVEL = 3


def packed(text: str) -> bytes:
    """A text as zlib's stream of its UTF-8."""
    return zlib.compress(text.encode(), _LEVEL)


def unpacked(value: str | bytes) -> str:
    """The text of a row: one that was packed, or was written as it is."""
    return value if isinstance(value, str) else zlib.decompress(value).decode()
