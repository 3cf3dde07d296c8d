"""`trueup status`: what a running daemon says of its models.

What lives here: two requests and a table. What must not: reading the state or the log; the daemon answers.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Annotated, Any, cast

import typer

from monitor.commands.common import DEFAULT_CONFIG, AsJson, Config, console, load, print_json, print_table
from monitor.errors import OperatorError

app = typer.Typer(add_completion=False)

_SECONDS = 10.0
_FAILED = 1
_COLUMNS = (
    "name",
    "predictions",
    "labels",
    "labels_pending",
    "records_rejected",
    "alarms",
    "watermark",
    "last_success",
    "error",
)
_TIMES = ("watermark", "last_success")


@app.command()
def status(
    config: Config = DEFAULT_CONFIG,
    token: Annotated[
        str | None, typer.Option(envvar="TRUEUP_TOKEN", help="Bearer token of scope read, where one is asked for.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the daemon of this configuration how it is and how its models are; exit code 1 where it is not ready."""
    from monitor.snapshots import state_bytes

    settings = load(config)
    host = f"[{settings.http.host}]" if ":" in settings.http.host else settings.http.host
    base = f"http://{host}:{settings.http.port}"
    readiness = _get(f"{base}/readyz", token)
    models = _get(f"{base}/v1/models", token)["models"]
    size = state_bytes(settings.state_url)
    if as_json:
        print_json({"url": base, **readiness, "state_bytes": size, "models": models})
    else:
        # Only models that declare segments have this one.
        segments = ("worst_segment",) if any("worst_segment" in model for model in models) else ()
        columns = (*_COLUMNS[:6], *segments, *_COLUMNS[6:])
        rows = [[_short(name, model.get(name)) for name in columns] for model in models]
        title = f"{base}: {readiness['status']}" + (f", state of {size:,} bytes" if size else "")
        print_table(title, [name.replace("_", " ") for name in columns], rows)
        for reason in readiness["reasons"]:
            console(error=True).print(reason)
    if readiness["status"] != "ok":
        raise typer.Exit(_FAILED)


def _short(name: str, value: Any) -> Any:
    """Times to the second; what is not known stays so."""
    if name in _TIMES and isinstance(value, str):
        return value[:19].replace("T", " ")
    return value


def _get(url: str, token: str | None) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    # Without the proxies of the environment: the daemon is asked, and nobody in between.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_SECONDS) as response:
            return cast("dict[str, Any]", json.load(response))
    except urllib.error.HTTPError as error:
        if error.code == 503:
            return cast("dict[str, Any]", json.load(error))
        hint = "Give a token of scope read: --token or TRUEUP_TOKEN." if error.code in (401, 403) else None
        raise OperatorError("the daemon refused", where=url, got=f"{error.code} {error.reason}", hint=hint) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, json.JSONDecodeError) as error:
        got = str(getattr(error, "reason", error))
        raise OperatorError("no daemon answers", where=url, got=got, hint="Start it: trueup monitor") from error
