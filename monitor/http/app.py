"""The daemon's HTTP surface: routes, who may use them, and the API document.

What lives here: wiring. What must not: decisions about records, windows or metrics; they are the services'.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool

from monitor.errors import TrueupError
from monitor.http import api_schema
from monitor.http.answers import problem
from monitor.http.auth import Scope, scopes_of
from monitor.http.ingestion import Ingestion
from monitor.http.services import Services
from monitor.http.status import MetricsAnswer, condition_response, json_response, status_page
from monitor.logs import log_event
from monitor.settings import HttpSettings

# Documents the scheme only; the check itself is `_require`, which also knows scopes.
_BEARER = HTTPBearer(auto_error=False, description="needed where the configuration names a tokens file")


def create_app(services: Services, settings: HttpSettings, *, clock: Callable[[], float] = time.time) -> FastAPI:
    """The application. Where tokens are configured every route but the probes and the API document asks for one."""
    ingestion = Ingestion(services, maximum_body_bytes=settings.maximum_body_bytes, clock=clock)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        ingestion.start()
        yield
        await run_in_threadpool(ingestion.close)

    # FastAPI's own pages of the documentation load their scripts from a foreign server.
    app = FastAPI(title="trueup", version="1", docs_url=None, redoc_url=None, lifespan=lifespan)
    app.add_exception_handler(HTTPException, _with_headers)
    app.add_exception_handler(Exception, _internal_error)
    _add_probes(app, services)
    _add_ingestion(app, ingestion, settings.token_digests)
    _add_reading(app, services, settings.token_digests)
    return app


def _add_probes(app: FastAPI, services: Services) -> None:
    @app.get("/healthz", summary="Whether the process lives")
    def healthz() -> Response:
        return condition_response(*services.health())

    @app.get("/readyz", summary="Whether the daemon does its work")
    def readyz() -> Response:
        return condition_response(*services.ready())


def _add_ingestion(app: FastAPI, ingestion: Ingestion, digests: Mapping[str, tuple[str, ...]]) -> None:
    allowed = [Depends(_BEARER), Depends(_require("ingest", digests))]
    common: dict[str, Any] = {
        "dependencies": allowed,
        "status_code": 202,
        "responses": _guarded(api_schema.responses()),
    }

    @app.post(
        "/v1/predictions",
        summary="Add predictions",
        openapi_extra=api_schema.request_body(api_schema.PREDICTION) | _MODEL_PARAMETER,
        **common,
    )
    async def predictions(request: Request) -> Response:
        return await ingestion.take(request, "prediction")

    @app.post(
        "/v1/labels",
        summary="Add ground truth",
        openapi_extra=api_schema.request_body(api_schema.LABEL) | _MODEL_PARAMETER,
        **common,
    )
    async def labels(request: Request) -> Response:
        return await ingestion.take(request, "label")


_MODEL_PARAMETER: dict[str, Any] = {
    "parameters": [
        {
            "name": "model",
            "in": "query",
            "required": False,
            "schema": {"type": "string"},
            "description": "of all records; else each names its own, or there is only one",
        }
    ]
}


def _add_reading(app: FastAPI, services: Services, digests: Mapping[str, tuple[str, ...]]) -> None:
    allowed = {"dependencies": [Depends(_BEARER), Depends(_require("read", digests))]}
    metrics_answer = MetricsAnswer()

    @app.get("/metrics", summary="Metrics for Prometheus", responses=_guarded(_METRICS_TEXT), **allowed)  # type: ignore[arg-type]
    def metrics(request: Request) -> Response:
        return metrics_answer.response(services.metrics(), request.headers.get("accept-encoding", ""))

    @app.get("/v1/models", summary="The configured models", responses=_guarded({}), **allowed)  # type: ignore[arg-type]
    def models() -> Response:
        return json_response({"models": [dict(model) for model in services.models()]})

    @app.get(
        "/v1/models/{model}/windows",
        summary="Published windows, newest first",
        responses=_guarded(api_schema.problem_responses({404: "no such model"})),
        **allowed,  # type: ignore[arg-type]
    )
    def windows(
        model: str,
        version: Annotated[str | None, Query(max_length=200)] = None,
        window: Annotated[str | None, Query(max_length=50, examples=["1h"])] = None,
        maturity: Literal["provisional", "final"] | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    ) -> Response:
        found = services.windows(model, version=version, window=window, maturity=maturity, limit=limit)
        if found is None:
            return problem(404, f"no model {model!r:.120}")
        return json_response({"windows": list(found)})

    @app.get(
        "/v1/models/{model}/alarms",
        summary="Alarms of a model, what they rest on, and the false-alarm budget",
        responses=_guarded(api_schema.problem_responses({404: "no such model"})),
        **allowed,  # type: ignore[arg-type]
    )
    def alarms(model: str) -> Response:
        found = services.alarms(model)
        if found is None:
            return problem(404, f"no model {model!r:.120}")
        return json_response(found)

    @app.get("/", summary="A page for people", include_in_schema=False, **allowed)  # type: ignore[arg-type]
    def page() -> Response:
        return status_page(services.models(), *services.ready())


_METRICS_TEXT: dict[int | str, dict[str, Any]] = {
    200: {"description": "exposition text", "content": {"text/plain": {"schema": {"type": "string"}}}}
}


def _guarded(responses: dict[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    return responses | api_schema.problem_responses({401: "no token", 403: "the token is for something else"})


def _require(scope: Scope, digests: Mapping[str, tuple[str, ...]]) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        if not digests:
            return
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        granted = scopes_of(token.strip(), digests) if scheme.lower() == "bearer" else frozenset()
        if not granted:
            raise HTTPException(401, "a bearer token is needed")
        if scope not in granted:
            raise HTTPException(403, f"this token is not for {scope}")

    return check


async def _with_headers(request: Request, error: Exception) -> Response:
    if isinstance(error, HTTPException) and error.status_code == 401:
        return problem(401, str(error.detail))
    assert isinstance(error, HTTPException)
    return await http_exception_handler(request, error)


async def _internal_error(request: Request, error: Exception) -> Response:
    log_event("request failed", path=request.url.path, error=repr(error))
    if isinstance(error, TrueupError):
        return problem(503, "not possible at the moment, try again later")
    return problem(500, "an error of trueup itself; its log says more")
