"""What the daemon says of itself: metrics, health, models and their windows, a small page for people.

What lives here: the reading endpoints' answers. What must not: where the numbers come from, tokens.
"""

from __future__ import annotations

import gzip
import html
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import Response

from monitor.export.prometheus import CONTENT_TYPE

_PAGE_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;margin:2rem;color:#222}table{border-collapse:collapse}"
    "th,td{text-align:left;padding:.3rem .8rem;border-bottom:1px solid #ddd}.bad{color:#b00020}"
)


class MetricsAnswer:
    """The exposition text, compressed once for each text rather than once for each scrape."""

    def __init__(self) -> None:
        self._text = b""
        self._compressed = b""

    def response(self, text: bytes, accepted_encodings: str) -> Response:
        """The text as Prometheus takes it, gzipped where the client accepts that."""
        headers = {"Vary": "Accept-Encoding"}
        if _accepts_gzip(accepted_encodings):
            if text is not self._text:
                self._text, self._compressed = text, gzip.compress(text, 5, mtime=0)
            text = self._compressed
            headers["Content-Encoding"] = "gzip"
        return Response(text, headers=headers | {"Content-Type": CONTENT_TYPE})


def json_response(content: Any, status: int = 200) -> Response:
    """JSON of plain values; what JSON has no word for becomes text."""
    return Response(orjson.dumps(content, default=str), status_code=status, media_type="application/json")


def condition_response(good: bool, reasons: Sequence[str]) -> Response:
    """A probe's answer: 200 or 503, with the reasons."""
    return json_response({"status": "ok" if good else "unavailable", "reasons": list(reasons)}, 200 if good else 503)


def status_page(models: Sequence[Mapping[str, Any]], good: bool, reasons: Sequence[str]) -> Response:
    """One table of the models; everything that comes from outside is escaped."""
    columns = list(dict.fromkeys(name for model in models for name in model))
    head = "".join(f"<th>{_text(name.replace('_', ' '))}</th>" for name in columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{_text(model.get(name))}</td>" for name in columns) + "</tr>" for model in models
    )
    state = "ready" if good else "not ready"
    notes = "".join(f"<li class='bad'>{_text(reason)}</li>" for reason in reasons)
    page = (
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>trueup</title>"
        f"<style>{_STYLE}</style><h1>trueup</h1><p>{state}</p><ul>{notes}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        "<p><a href='metrics'>metrics</a> · <a href='v1/models'>models</a> · <a href='openapi.json'>API</a></p></html>"
    )
    headers = {"Content-Security-Policy": _PAGE_POLICY, "X-Content-Type-Options": "nosniff"}
    return Response(page, media_type="text/html; charset=utf-8", headers=headers)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, list | tuple | dict):
        value = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    # Marks that turn the direction of writing could make one model look like another.
    shown = "".join(mark if mark.isprintable() or mark == " " else "\N{REPLACEMENT CHARACTER}" for mark in str(value))
    return html.escape(shown[:500])


def _accepts_gzip(header: str) -> bool:
    for item in header.lower().split(","):
        name, _, quality = item.partition(";")
        if name.strip() in ("gzip", "*"):
            return quality.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False
