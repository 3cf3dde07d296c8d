"""The spool keeps what it acknowledged, up to the first damage, and says what it lost."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from monitor.log import spool
from monitor.log.spool import MAGIC, SpoolFullError, SpoolSettings, SpoolWriter, read_segment, sealed_segments
from tests.records_samples import predictions


def write(root: Path, frames: int = 3, **settings: object) -> list[Path]:
    writer = SpoolWriter(root, SpoolSettings(**settings), writer="w")  # type: ignore[arg-type]
    for index in range(frames):
        writer.append(predictions([f"{index}-{row}" for row in range(4)]))
    writer.close()
    return [path for _, _, path in sealed_segments(root)]


def ids(path: Path) -> list[str]:
    return [name for batch in read_segment(path).batches for name in batch.column("prediction_id").to_pylist()]


def test_what_was_appended_is_read_back_in_order(tmp_path: Path) -> None:
    [path] = write(tmp_path)
    assert ids(path) == [f"{index}-{row}" for index in range(3) for row in range(4)]
    assert read_segment(path).damage is None


def test_an_open_segment_of_a_living_writer_is_not_touched(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(predictions(["a"]))
    assert list(sealed_segments(tmp_path)) == []
    writer.seal()
    assert len(list(sealed_segments(tmp_path))) == 1
    writer.close()


def test_segments_are_sealed_by_size_and_by_age(tmp_path: Path) -> None:
    now = [0.0]
    writer = SpoolWriter(tmp_path, SpoolSettings(segment_bytes=4_000, segment_seconds=5), monotonic=lambda: now[0])
    for index in range(4):
        writer.append(predictions([str(index)]))
    by_size = len(list(sealed_segments(tmp_path)))
    assert by_size >= 1
    now[0] = 6.0
    writer.tick()
    assert len(list(sealed_segments(tmp_path))) == by_size + 1
    writer.close()


def test_a_writer_without_traffic_leaves_no_segment(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.tick()
    writer.close()
    assert list(sealed_segments(tmp_path)) == []


def test_two_writers_cannot_share_a_folder(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path, writer="same")
    with pytest.raises(Exception, match="another process writes to this spool"):
        SpoolWriter(tmp_path, writer="same")
    writer.close()


def test_a_restarted_writer_goes_on_with_higher_numbers(tmp_path: Path) -> None:
    write(tmp_path, 1)
    write(tmp_path, 1)
    assert [number for _, number, _ in sealed_segments(tmp_path)] == [1, 2]


def test_a_full_spool_refuses_and_says_so(tmp_path: Path) -> None:
    settings = SpoolSettings(segment_bytes=3_000, maximum_bytes=5_000)
    writer = SpoolWriter(tmp_path, settings)
    with pytest.raises(SpoolFullError, match="the spool is full, the record was refused") as failure:
        for index in range(50):
            writer.append(predictions([str(index)]))
    assert "Is the monitor's ingester running?" in str(failure.value)
    writer.close()


def frame_offsets(data: bytes) -> list[int]:
    offsets, position = [], len(MAGIC)
    while position < len(data):
        offsets.append(position)
        position += 8 + struct.unpack_from("<I", data, position)[0]
    return offsets


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("torn tail", 2),
        ("torn header", 2),
        ("bad magic", 0),
        ("zero length", 1),
        ("huge length", 1),
        ("bad checksum", 1),
        ("bad content", 1),
    ],
)
def test_repair_keeps_every_frame_before_the_first_damage(tmp_path: Path, name: str, kept: int) -> None:
    [path] = write(tmp_path)
    data = bytearray(path.read_bytes())
    offsets = frame_offsets(bytes(data))
    second, third = offsets[1], offsets[2]
    if name == "torn tail":
        del data[-5:]
    elif name == "torn header":
        del data[third + 3 :]
    elif name == "bad magic":
        data[0] ^= 0xFF
    elif name == "zero length":
        data[second : second + 4] = struct.pack("<I", 0)
    elif name == "huge length":
        data[second : second + 4] = struct.pack("<I", 0xFFFFFFFF)
    elif name == "bad checksum":
        data[second + 4] ^= 1
    elif name == "bad content":
        # A frame whose checksum is right but which is no Arrow stream: written by something else.
        length = struct.unpack_from("<I", data, second)[0]
        payload = b"\x00" * length
        head = struct.pack("<I", length)
        data[second : second + 8 + length] = head + struct.pack("<I", spool._checksum(head, payload)) + payload
    path.write_bytes(bytes(data))
    read = read_segment(path)
    assert len(read.batches) == kept
    assert read.damage is not None
    expected_loss = len(data) - ([0, second, third][kept] if kept else 0)
    assert read.damaged_bytes == expected_loss


def test_a_failed_write_leaves_whole_frames_and_the_writer_goes_on(tmp_path: Path) -> None:
    """A file size limit makes the kernel itself refuse the write, in the middle of a frame."""
    program = """
import resource, signal, sys
from monitor.log.spool import SpoolWriter
from tests.records_samples import predictions
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
writer = SpoolWriter(sys.argv[1], writer="w")
size = writer.append(predictions(["first"]))
resource.setrlimit(resource.RLIMIT_FSIZE, (8 + size + 100, resource.RLIM_INFINITY))
try:
    writer.append(predictions(["second"]))
    sys.exit("the write should have failed")
except OSError as error:
    print(type(error).__name__)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
writer.append(predictions(["third"]))
writer.close()
"""
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, timeout=60)
    read = [read_segment(path) for _, _, path in sealed_segments(tmp_path)]
    assert all(item.damage is None for item in read)
    assert [name for _, _, path in sealed_segments(tmp_path) for name in ids(path)] == ["first", "third"]


def test_a_killed_writer_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Twenty processes are killed with SIGKILL while they append; every acknowledged id is read back, once."""
    program = """
import sys
from monitor.log.spool import SpoolSettings, SpoolWriter
from tests.records_samples import predictions
writer = SpoolWriter(sys.argv[1], SpoolSettings(segment_bytes=20_000))
batch = predictions([f"{sys.argv[2]}-0-{row}" for row in range(3)])
for index in range(100_000):
    writer.append(predictions([f"{sys.argv[2]}-{index}-{row}" for row in range(3)]))
    print(index, flush=True)
"""
    acknowledged: set[str] = set()
    for run in range(20):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), str(run)], stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        for line in process.stdout:
            acknowledged |= {f"{run}-{int(line)}-{row}" for row in range(3)}
            if int(line) >= 3 + run * 2:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.stdout.close()
        process.wait()
    recovered = [name for _, _, path in sealed_segments(tmp_path) for name in ids(path)]
    assert acknowledged <= set(recovered)
    assert len(recovered) == len(set(recovered))


def test_removing_the_last_segment_of_a_dead_writer_removes_its_folder(tmp_path: Path) -> None:
    [path] = write(tmp_path)
    spool.remove_segment(path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_living_writer_stays(tmp_path: Path) -> None:
    writer = SpoolWriter(tmp_path)
    writer.append(predictions(["a"]))
    writer.seal()
    [(_, _, path)] = list(sealed_segments(tmp_path))
    spool.remove_segment(path)
    assert writer.directory.is_dir()
    writer.append(predictions(["b"]))
    writer.close()
    assert [name for _, _, path in sealed_segments(tmp_path) for name in ids(path)] == ["b"]
