"""A thin client of TorchServe's management API.

What lives here: its calls, with the token, and its errors as ours. What must not: deciding what to promote.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import httpx

from monitor.errors import OperatorError

READY = "READY"


class ManagementClient:
    """Speaks to the management address of one TorchServe, for example `http://127.0.0.1:8081`.

    Every call raises OperatorError with TorchServe's own message where it refuses, or if it cannot be reached.
    `register` and `unregister` need a server that was started with its model API on.
    """

    def __init__(self, address: str, token: str, timeout_seconds: float = 120.0) -> None:
        self.address = address
        # A proxy of the environment has no business between two processes of one machine.
        self._client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout_seconds,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def models(self) -> dict[str, str]:
        """Archive file by name of every registered model."""
        listed = self._call("GET", "/models", {"limit": 1000})
        return {model["modelName"]: model["modelUrl"] for model in listed["models"]}

    def describe(self, name: str, version: str = "all") -> list[dict[str, Any]]:
        """What TorchServe says of each version of a model: batch size, workers with their status, queue."""
        return list(self._call("GET", f"/models/{name}/{version}"))

    def ready_workers(self, name: str) -> int:
        """Workers of the model's versions that answer requests."""
        return sum(worker["status"] == READY for model in self.describe(name) for worker in model["workers"])

    def register(self, archive: str, *, workers: int = 1, batch_size: int = 1, max_batch_delay_ms: int = 10) -> None:
        """Register an archive of the model store and wait until its workers answer; it does not become the default
        while another version is."""
        parameters = {
            "url": archive,
            "initial_workers": workers,
            "synchronous": "true",
            "batch_size": batch_size,
            "max_batch_delay": max_batch_delay_ms,
        }
        self._call("POST", "/models", parameters)

    def set_default(self, name: str, version: str) -> None:
        """Let requests that name no version go to this one."""
        self._call("PUT", f"/models/{name}/{version}/set-default")

    def scale(self, name: str, version: str, workers: int) -> None:
        """Set the number of workers of a version and wait for them."""
        parameters = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
        self._call("PUT", f"/models/{name}/{version}", parameters)

    def unregister(self, name: str, version: str) -> None:
        """Remove a version, or the model if it is the only one; the default of several is refused.

        Its workers are killed outright, so take its traffic away first: what was answered in the last half second may
        not be in the log yet.
        """
        self._call("DELETE", f"/models/{name}/{version}")

    def _call(self, method: str, path: str, parameters: Mapping[str, Any] | None = None) -> Any:
        try:
            response = self._client.request(method, path, params=parameters)
        except httpx.HTTPError as error:
            raise OperatorError(
                "TorchServe's management API does not answer",
                where=self.address,
                got=f"{type(error).__name__}: {error}",
            ) from error
        if response.is_error:
            raise OperatorError(
                f"TorchServe refused {method} {path}",
                where=self.address,
                expected="2xx",
                got=f"{response.status_code} {_message(response)}",
            )
        return response.json()


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["message"]).strip()
    except (ValueError, KeyError, TypeError):
        return response.text[:200]
