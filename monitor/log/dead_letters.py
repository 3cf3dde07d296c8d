"""Records that could not be taken, kept with their original bytes until someone has mended the cause.

What lives here: the files of dead letters, their bound, reading them again. What must not: why a record is bad.

`<directory>/<number>.ndjson`, one JSON object a line: `time`, `source`, `model`, `kind`, `reason`, `message`, and the
record as `original` (text) or `original_base64` (bytes that are no UTF-8). Beyond the bound the oldest file goes.
"""

from __future__ import annotations

import base64
import fcntl
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from monitor.log.rejection import Rejected
from monitor.records import Kind

_SUFFIX = ".ndjson"
_MICROSECONDS = 1_000_000


@dataclass(frozen=True)
class DeadLetter:
    """One record that was not taken."""

    time: str
    source: str
    model: str
    kind: Kind
    reason: str
    message: str
    original: bytes


class DeadLetters:
    """Appends to the dead letters of a directory; safe for threads and beside other processes.

    `maximum_bytes` bounds all files together (give or take one file); `discarded_bytes` counts what was deleted for it.
    """

    def __init__(self, directory: Path, *, maximum_bytes: int = 256 * 1024 * 1024) -> None:
        self.directory = directory
        self.discarded_bytes = 0
        self._maximum = maximum_bytes
        self._file_bytes = max(maximum_bytes // 8, 1)
        self._lock = threading.Lock()

    def add(self, rejected: Iterable[Rejected], *, source: str, model: str, kind: Kind, now: int) -> int:
        """Keep rejected records; returns how many. `now` in microseconds. Raises OSError as the disk reports it."""
        moment = datetime.fromtimestamp(now / _MICROSECONDS, UTC).isoformat().replace("+00:00", "Z")
        common = {"time": moment, "source": source, "model": model, "kind": kind}
        lines = [_line(common, row) for row in rejected]
        if lines:
            with self._lock:
                self._append(b"".join(lines))
        return len(lines)

    def _append(self, data: bytes) -> None:
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _locked(self.directory):
            self._append_locked(data)

    def _append_locked(self, data: bytes) -> None:
        files = _files(self.directory)
        current = files[-1] if files else self.directory / f"{1:08d}{_SUFFIX}"
        if files and current.stat().st_size + len(data) > self._file_bytes:
            current = self.directory / f"{int(current.stem) + 1:08d}{_SUFFIX}"
        descriptor = os.open(current, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(data)
        self._discard_oldest()

    def _discard_oldest(self) -> None:
        files = _files(self.directory)
        sizes = [file.stat().st_size for file in files]
        while len(files) > 1 and sum(sizes) > self._maximum:
            self.discarded_bytes += sizes.pop(0)
            files.pop(0).unlink(missing_ok=True)


def remove_dead_letters(directory: Path, wanted: Callable[[DeadLetter], bool]) -> int:
    """Take out the dead letters that are `wanted`; returns how many.

    A file is replaced by one without them, so that their bytes are gone from the directory.
    """
    if not directory.is_dir():
        return 0
    with _locked(directory):
        return sum(_rewrite(path, wanted) for path in _files(directory))


def _rewrite(path: Path, wanted: Callable[[DeadLetter], bool]) -> int:
    lines = path.read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if (letter := _read(line)) is None or not wanted(letter)]
    if not kept:
        path.unlink()
    elif len(kept) < len(lines):
        draft = path.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(b"".join(kept))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    return len(lines) - len(kept)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """One process at a time changes the files of a directory; others wait their turn."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def read_dead_letters(directory: Path) -> Iterator[DeadLetter]:
    """Every dead letter, oldest first; a line torn by a crash is skipped."""
    for path in _files(directory):
        with path.open("rb") as file:
            for line in file:
                letter = _read(line)
                if letter is not None:
                    yield letter


def originals(letters: Iterable[DeadLetter]) -> bytes:
    """The records as they came, one a line, as a file or a request body that can be fed again."""
    return b"".join(letter.original.rstrip(b"\r\n") + b"\n" for letter in letters)


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob(f"*{_SUFFIX}") if path.stem.isdigit())


def _line(common: dict[str, str], row: Rejected) -> bytes:
    content: dict[str, Any] = {**common, "reason": row.reason.value, "message": row.message}
    try:
        content["original"] = row.original.decode()
    except UnicodeDecodeError:
        content["original_base64"] = base64.b64encode(row.original).decode()
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def _read(line: bytes) -> DeadLetter | None:
    try:
        content = orjson.loads(line)
        text = content.get("original")
        original = base64.b64decode(content["original_base64"]) if text is None else text.encode()
        fields = {name: content[name] for name in ("time", "source", "model", "kind", "reason", "message")}
        return DeadLetter(**fields, original=original)
    except (orjson.JSONDecodeError, KeyError, AttributeError, ValueError):
        return None
