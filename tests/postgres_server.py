"""A real PostgreSQL of its own in a temporary folder, on a port of this machine."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemon_process import free_port

_DEADLINE_SECONDS = 60.0


def programs() -> Path:
    """The folder of the newest installed server's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    assert found, "PostgreSQL is not installed: make servers"
    return found[-1]


@contextmanager
def postgres_server() -> Iterator[str]:
    """A running server; gives the SQLAlchemy URL of its empty database."""
    # Its socket's path must be short, and it refuses to run as root.
    with tempfile.TemporaryDirectory(prefix="trueup-pg-") as name:
        folder, user = Path(name), _unprivileged()
        if user is not None:
            os.chown(folder, user.pw_uid, user.pw_gid)
        become = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if user else {}
        data, port = folder / "data", free_port()
        initialise = [programs() / "initdb", "-D", data, "-U", "trueup", "--auth=trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([*map(str, initialise)], check=True, capture_output=True, cwd=folder, **become)  # type: ignore[call-overload]
        options = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": folder, "fsync": "off"}
        arguments = [text for key, value in options.items() for text in ("-c", f"{key}={value}")]
        log = (folder / "log").open("wb")
        process = subprocess.Popen(
            [str(programs() / "postgres"), "-D", str(data), *arguments], stdout=log, stderr=log, cwd=folder, **become
        )  # type: ignore[call-overload]
        try:
            _wait_until_ready(port, process, folder / "log")
            yield f"postgresql+psycopg://trueup@127.0.0.1:{port}/postgres"
        finally:
            process.send_signal(signal.SIGINT)  # closes connections and ends at once
            process.wait(timeout=_DEADLINE_SECONDS)
            log.close()


def _unprivileged() -> pwd.struct_passwd | None:
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else None


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    ask = [str(programs() / "pg_isready"), "-h", "127.0.0.1", "-p", str(port), "-q"]
    while subprocess.run(ask, check=False).returncode:
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < deadline, "PostgreSQL does not answer"
        time.sleep(0.05)
