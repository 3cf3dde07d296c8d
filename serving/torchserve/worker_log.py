"""What TorchServe's logs say went wrong.

What lives here: reading log lines. What must not: files, processes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

WORKER_DIED = "Backend worker process died."

# 2026-11-24T16:05:48,346 [INFO ] W-9000-animals_v1-stdout MODEL_LOG - the message
_LINE = re.compile(r"^\S+ \[(?P<level>[A-Z]+) *\] (?P<thread>\S+) (?P<logger>\S+) - (?P<message>.*)$")
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Warning|Timeout)\b.*")
_LEVELS = ("ERROR", "FATAL")


def worker_deaths(lines: Iterable[str]) -> int:
    """How often a worker process died."""
    return sum(line.rstrip().endswith(WORKER_DIED) for line in lines)


def worker_failure(lines: Iterable[str]) -> str | None:
    """Why the first worker died: the error at the end of its traceback, or its last words.

    A worker that cannot load its model logs the reason, and then dies of a second error that only says so; the first
    is what counts.
    """
    messages = [_message(line) for line in lines]
    died_at = messages.index(WORKER_DIED) if WORKER_DIED in messages else len(messages)
    for part in (messages[:died_at], messages[died_at + 1 :]):
        errors = [message for message in part if _ERROR.match(message)]
        if errors:
            return errors[0] if part is not messages[:died_at] else errors[-1]
    spoken = [message for message in messages if message and message != WORKER_DIED]
    return spoken[-1] if spoken else None


def server_failure(lines: Iterable[str]) -> str | None:
    """The last thing a server that ended had to say: its last error, exception or line."""
    lines = [line.strip() for line in lines if line.strip()]
    matches = [_LINE.match(line) for line in lines]
    errors = [match["message"] for match in matches if match and match["level"] in _LEVELS]
    exceptions = [line for line in lines if _ERROR.match(line) or line.startswith(("Caused by:", "Exception in"))]
    return next((found[-1] for found in (exceptions, errors, lines) if found), None)


def _message(line: str) -> str:
    match = _LINE.match(line.rstrip("\n"))
    return (match["message"] if match else line).rstrip()
