"""The durable hand-over between a process that makes records and the one that ingests them.

What lives here: segment files, their frames, writing, sealing, reading, repair. What must not: any knowledge of what a
record means, Delta, or models.

Layout of a spool: `<root>/<writer>/<number>.open` is being written, `<number>.segment` is sealed and will not change.
Every writer has a folder of its own whose `lock` it holds (`flock`) while it lives; whoever obtains the lock knows that
the writer is dead and may seal what it left. A segment is the magic `TRUEUPS1` and then frames:

    length uint32 LE | CRC-32C uint32 LE of (length ‖ payload) | payload = one Arrow IPC stream

Repair keeps everything before the first damage and reports the bytes after it.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import google_crc32c
import pyarrow as pa
import uuid_utils

from monitor.errors import OperatorError
from monitor.fault_points import fault_point

MAGIC = b"TRUEUPS1"
OPEN_SUFFIX = ".open"
SEALED_SUFFIX = ".segment"
LOCK_NAME = "lock"
# A frame holds at most 1,000 records; a length beyond this is damage, and must not become an allocation.
MAXIMUM_FRAME_BYTES = 256 * 1024 * 1024

FsyncPolicy = Literal["always", "interval", "never"]

_HEADER = struct.Struct("<II")


@dataclass(frozen=True)
class SpoolSettings:
    """How a writer keeps its segments.

    `fsync`: `always` syncs before `append` returns (nothing acknowledged is lost, power loss included); `interval`
    syncs every `fsync_interval_seconds` (a killed process loses nothing, a power loss at most that much); `never`
    leaves it to the kernel (about 30 s). A segment is sealed at `segment_bytes` or when it is `segment_seconds` old;
    `maximum_bytes` bounds the sealed and open segments of one writer: beyond it `append` refuses.
    """

    fsync: FsyncPolicy = "interval"
    fsync_interval_seconds: float = 1.0
    segment_bytes: int = 64 * 1024 * 1024
    segment_seconds: float = 5.0
    maximum_bytes: int = 4 * 1024 * 1024 * 1024


class SpoolFullError(OperatorError):
    """The writer's share of the disk is used up; the record was not taken."""


class SpoolWriter:
    """Appends record batches to the segments of one writer. Not thread-safe: one thread owns it.

    After an `append` that raises (disk full, I/O error) the segment is cut back to its last whole frame, so that the
    next append continues a readable file.
    """

    def __init__(
        self,
        root: Path | str,
        settings: SpoolSettings | None = None,
        *,
        writer: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings or SpoolSettings()
        self._monotonic = monotonic
        self.writer = writer or uuid_utils.uuid7().hex
        self.directory = Path(root) / self.writer
        self._lock = _claim_directory(self.directory)
        existing = sorted(segment_number(path) for path in self.directory.glob("*.*") if _is_segment(path))
        for path in self.directory.glob(f"*{OPEN_SUFFIX}"):
            _seal(path)
        self._number = existing[-1] + 1 if existing else 1
        self._file: IO[bytes] | None = None
        self._path = self.directory
        self._size = 0
        self._opened_at = 0.0
        self._synced_at = 0.0
        self._dirty = False

    def append(self, batch: pa.RecordBatch) -> int:
        """Write one batch as one frame; returns the frame's bytes. Durable on return when `fsync` is `always`.

        Raises SpoolFullError at `maximum_bytes`, OSError as the disk reports it; neither leaves a partial frame.
        """
        payload = _encode(batch)
        length = struct.pack("<I", len(payload))
        frame = b"".join((_HEADER.pack(len(payload), _checksum(length, payload)), payload))
        if self._file is not None and self._size + len(frame) > self.settings.segment_bytes:
            self.seal()
        if self._file is None:
            self._check_room(len(frame))
            self._open()
        assert self._file is not None
        try:
            _write_whole(self._file, frame)
            fault_point("spool.written")
            if self.settings.fsync == "always":
                os.fsync(self._file.fileno())
        except OSError:
            self._cut_back()
            raise
        self._size += len(frame)
        self._dirty = self.settings.fsync == "interval"
        self.tick()
        return len(frame)

    def tick(self) -> None:
        """Do what time asks for: the interval's fsync, and sealing a segment that is old enough."""
        if self._file is None:
            return
        now = self._monotonic()
        if now - self._opened_at >= self.settings.segment_seconds:
            self.seal()
        elif self._dirty and now - self._synced_at >= self.settings.fsync_interval_seconds:
            os.fsync(self._file.fileno())
            self._dirty, self._synced_at = False, now

    def seal(self) -> None:
        """Close the open segment, if any, and make it available to the ingester."""
        if self._file is None:
            return
        file, self._file = self._file, None
        if self.settings.fsync != "never":
            os.fsync(file.fileno())
        file.close()
        fault_point("spool.sealing")
        _seal(self._path)
        fault_point("spool.sealed")

    def close(self) -> None:
        """Seal what is open and let go of the folder."""
        try:
            self.seal()
        finally:
            os.close(self._lock)

    def _open(self) -> None:
        self._path = self.directory / f"{self._number:012d}{OPEN_SUFFIX}"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        _write_whole(self._file, MAGIC)
        self._number += 1
        self._size = len(MAGIC)
        self._opened_at = self._synced_at = self._monotonic()
        # Without this the file's name may be gone after a power loss although its data was synced.
        _sync_directory(self.directory)

    def _cut_back(self) -> None:
        assert self._file is not None
        try:
            os.ftruncate(self._file.fileno(), self._size)
        except OSError:  # the disk is gone: give up this segment, its whole frames stay readable
            self._file.close()
            self._file = None

    def _check_room(self, wanted: int) -> None:
        # Only when a segment opens: one listing per 64 MiB costs nothing, and the bound may be passed by one segment.
        used = sum(path.stat().st_size for path in self.directory.iterdir() if _is_segment(path))
        if used + wanted > self.settings.maximum_bytes:
            raise SpoolFullError(
                "the spool is full, the record was refused",
                where=str(self.directory),
                expected=f"at most {self.settings.maximum_bytes} bytes waiting",
                got=f"{used} bytes",
                hint="Is the monitor's ingester running?",
            )


@dataclass(frozen=True)
class SegmentRead:
    """What one segment held: whole batches before the first damage, and what was lost after it."""

    path: Path
    batches: tuple[pa.RecordBatch, ...]
    damage: str | None
    damaged_bytes: int


def sealed_segments(root: Path | str) -> Iterator[tuple[str, int, Path]]:
    """(writer, number, path) of every sealed segment below `root`, each writer's in order.

    Open segments of dead writers are sealed first; those of living writers are left alone.
    """
    root = Path(root)
    if not root.is_dir():
        return
    for directory in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        _seal_leftovers(directory)
        for path in sorted(directory.glob(f"*{SEALED_SUFFIX}")):
            yield directory.name, segment_number(path), path


def read_segment(path: Path) -> SegmentRead:
    """Read a segment up to its first damage (torn tail, bad magic, length, checksum or content)."""
    size = path.stat().st_size
    batches: list[pa.RecordBatch] = []
    # Frame by frame, since a batch keeps the bytes it was read from: the whole file beside them would be twice as much.
    with path.open("rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            # A file that was created but never written holds nothing to lose.
            return SegmentRead(path, (), "bad magic" if size else None, size)
        offset = len(MAGIC)
        damage = None
        while offset < size:
            damage, batch, end = _read_frame(file, offset, size)
            if batch is None:
                break
            batches.append(batch)
            offset = end
    return SegmentRead(path, tuple(batches), damage, size - offset)


def remove_segment(path: Path) -> None:
    """Delete an ingested segment; the folder too, once its writer is dead and it holds nothing else."""
    path.unlink(missing_ok=True)
    directory = path.parent
    _sync_directory(directory)
    if any(_is_segment(other) for other in directory.iterdir()):
        return
    lock = _try_lock(directory)
    if lock is None:
        return
    try:
        if not any(_is_segment(other) for other in directory.iterdir()):
            (directory / LOCK_NAME).unlink(missing_ok=True)
            directory.rmdir()
    finally:
        os.close(lock)


def segment_number(path: Path) -> int:
    """The number in a segment's name; 000000000007.segment is 7."""
    return int(path.name.split(".", 1)[0])


def _is_segment(path: Path) -> bool:
    return path.suffix in (OPEN_SUFFIX, SEALED_SUFFIX)


def _write_whole(file: IO[bytes], data: bytes) -> None:
    # An unbuffered file may take only part of it, without an error, when the disk fills up; the rest then raises.
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _encode(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow carries no types


def _read_frame(file: IO[bytes], offset: int, size: int) -> tuple[str | None, pa.RecordBatch | None, int]:
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size:
        return "torn frame header", None, offset
    length, checksum = _HEADER.unpack(header)
    end = offset + _HEADER.size + length
    if length == 0 or length > MAXIMUM_FRAME_BYTES:
        return "bad frame length", None, offset
    if end > size:
        return "torn frame", None, offset
    payload = file.read(length)
    if _checksum(header[:4], payload) != checksum:
        return "bad checksum", None, offset
    try:
        with pa.ipc.open_stream(payload) as reader:
            batch = reader.read_next_batch()
            batch.validate()
    except (pa.ArrowInvalid, OSError, StopIteration):
        return "bad content", None, offset
    return None, batch, end


def _checksum(length: bytes, payload: bytes) -> int:
    return int(google_crc32c.extend(google_crc32c.value(length), payload))


def _claim_directory(directory: Path) -> int:
    """Create `directory` with its lock held from the first moment it is visible, or take over a dead writer's."""
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not directory.exists():
        hidden = directory.with_name(f".{directory.name}.{os.getpid()}")
        hidden.mkdir(mode=0o700)
        lock = _try_lock(hidden)
        assert lock is not None
        hidden.rename(directory)
        _sync_directory(directory.parent)
        return lock
    lock = _try_lock(directory)
    if lock is None:
        raise OperatorError("another process writes to this spool", where=str(directory))
    return lock


def _try_lock(directory: Path) -> int | None:
    descriptor = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _seal_leftovers(directory: Path) -> None:
    if not any(directory.glob(f"*{OPEN_SUFFIX}")):
        return
    lock = _try_lock(directory)
    if lock is None:
        return
    try:
        for path in directory.glob(f"*{OPEN_SUFFIX}"):
            _seal(path)
    finally:
        os.close(lock)


def _seal(path: Path) -> None:
    path.rename(path.with_suffix(SEALED_SUFFIX))
    _sync_directory(path.parent)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
