"""The HTTP server in a thread of the daemon: bound before it returns, stopped cleanly.

What lives here: sockets and uvicorn. What must not: routes.
"""

from __future__ import annotations

import errno
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from monitor.errors import DefectError, OperatorError
from monitor.settings import HttpSettings

_START_SECONDS = 10.0
_GRACE_SECONDS = 5


class ServerHandle:
    """A running server."""

    def __init__(self, server: uvicorn.Server, thread: threading.Thread, listener: socket.socket) -> None:
        self._server = server
        self._thread = thread
        self._listener = listener
        self.host, self.port = listener.getsockname()[:2]

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def stop(self) -> None:
        """Finish the requests under way (5 s at most), then end the thread. Can be called twice."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


def serve(app: FastAPI, settings: HttpSettings) -> ServerHandle:
    """Listen and serve in a thread; returns when requests are answered. Port 0 takes any that is free.

    Raises OperatorError naming the address where it cannot be had.
    """
    listener = _listen(settings.host, settings.port)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http", daemon=True)
    thread.start()
    handle = ServerHandle(server, thread, listener)
    deadline = time.monotonic() + _START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            handle.stop()
            raise DefectError("the HTTP server did not start", where=handle.url)
        time.sleep(0.005)
    return handle


def _listen(host: str, port: int) -> socket.socket:
    where = f"{host}:{port}"
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
            0
        ]
        # With its protocol named: only then does asyncio turn off Nagle's algorithm for what is accepted, which else
        # holds every small answer back for the client's delayed acknowledgement, 40 ms.
        listener = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1024)
        except OSError:
            listener.close()
            raise
        return listener
    except OSError as error:
        hint = "Another port goes into http.listen."
        if error.errno == errno.EADDRINUSE:
            hint = f"Is another trueup monitor running? {hint}"
            raise OperatorError(f"port {port} is in use", where=where, hint=hint) from error
        reason = error.strerror or str(error)
        raise OperatorError("cannot listen on this address", where=where, got=reason, hint=hint) from error
