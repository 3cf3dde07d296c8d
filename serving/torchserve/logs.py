"""What TorchServe logs, where, and what it says went wrong.

What lives here: the configuration of its logging, reading its lines. What must not: files, processes.

Its own configuration writes every request to the console, three files and without end. Ours: `console.log` has
warnings and what Java itself prints, `server.log` what the server does, `models.log` what handlers say, `workers.log`
one line per worker that is started again; files roll over at 10 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

CONSOLE_LOG = "console.log"
SERVER_LOG = "server.log"
MODEL_LOG = "models.log"
WORKER_LOG = "workers.log"

_RESTARTED = "Retry worker"
_WORKER_DIED = "Backend worker process died."
_PATTERN = "%d{ISO8601} [%-5p] %t %c - %m%n"
# 2026-11-24T16:05:48,346 [INFO ] W-9000-animals_v1-stdout MODEL_LOG - the message
_LINE = re.compile(r"^\S+ \[(?P<level>[A-Z]+) *\] (?P<thread>\S+) (?P<logger>\S+) - (?P<message>.*)$")
_ERROR = re.compile(r"^[A-Za-z_][\w.]*(Error|Exception|Interrupt|Exit|Timeout)\b.*")


def log4j_config(folder: str) -> str:
    """The logging configuration (XML) that keeps logs in `folder`, which must need no escaping in XML."""
    files = "".join(_rolling_file(folder, name) for name in (SERVER_LOG, MODEL_LOG))
    restarts = f'<RegexFilter regex=".*{_RESTARTED}.*" onMatch="ACCEPT" onMismatch="DENY"/>'
    quiet = "".join(f'<Logger name="{name}" level="off"/>' for name in ("ACCESS_LOG", "MODEL_METRICS", "TS_METRICS"))
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="console" target="SYSTEM_OUT"><PatternLayout pattern="{_PATTERN}"/></Console>
    {files}{_rolling_file(folder, WORKER_LOG, restarts)}
  </Appenders>
  <Loggers>
    {quiet}
    <Logger name="io.netty" level="error"/>
    <Logger name="MODEL_LOG" level="info" additivity="false"><AppenderRef ref="{MODEL_LOG}"/></Logger>
    <Logger name="org.pytorch.serve" level="info">
      <AppenderRef ref="{SERVER_LOG}"/><AppenderRef ref="{WORKER_LOG}"/>
    </Logger>
    <Root level="info"><AppenderRef ref="console" level="warn"/></Root>
  </Loggers>
</Configuration>
"""


def worker_restarts(lines: Iterable[str]) -> int:
    """How often a worker has died and is started again, from the lines of `workers.log`."""
    return sum(_RESTARTED in line for line in lines)


def worker_failure(lines: Iterable[str]) -> str | None:
    """Why the first worker died, from the lines of `models.log`: its error, or its last words.

    A worker that cannot load its model logs the reason, and then dies of a second error that only says so; the first
    is what counts.
    """
    messages = [message for line in lines if (message := _message(line))]
    died_at = messages.index(_WORKER_DIED) if _WORKER_DIED in messages else len(messages)
    logged = [message for message in messages[:died_at] if _ERROR.match(message)]
    if logged:
        return logged[-1]
    # Of a chain of exceptions the last is the one that was raised to us.
    second_death = messages.index(_WORKER_DIED, died_at + 1) if _WORKER_DIED in messages[died_at + 1 :] else None
    errors = [message for message in messages[died_at:second_death] if _ERROR.match(message)]
    if errors:
        return errors[-1]
    spoken = [message for message in messages if message != _WORKER_DIED]
    return spoken[-1] if spoken else None


def server_failure(lines: Iterable[str]) -> str | None:
    """The last thing a server that ended had to say, from `console.log`: an exception, an error or a line."""
    kept = [line.strip() for line in lines if line.strip()]
    matches = [match for line in kept if (match := _LINE.match(line))]
    errors = [match["message"] for match in matches if match["level"] in ("ERROR", "FATAL")]
    exceptions = [line for line in kept if _ERROR.match(line) or line.startswith(("Caused by:", "Exception in"))]
    return next((found[-1] for found in (exceptions, errors, kept) if found), None)


def _message(line: str) -> str:
    match = _LINE.match(line.rstrip("\n"))
    return (match["message"] if match else line).rstrip()


def _rolling_file(folder: str, name: str, content: str = "") -> str:
    return (
        f'<RollingFile name="{name}" fileName="{folder}/{name}" filePattern="{folder}/{name}.%i">{content}'
        f'<PatternLayout pattern="{_PATTERN}"/><SizeBasedTriggeringPolicy size="10 MB"/>'
        f'<DefaultRolloverStrategy max="3"/></RollingFile>'
    )
