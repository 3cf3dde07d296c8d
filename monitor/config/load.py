"""From the configuration file to the settings that the core takes.

What lives here: reading the file, its faults with their lines, building the settings. What must not: what a key may be
(that is `sections`).
"""

from __future__ import annotations

import difflib
import json
import os
import re
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from monitor.alarms.transitions import AlarmSettings
from monitor.config.check_sections import FaultsError
from monitor.config.document import Document, DocumentError, Fault, Location, parse_document
from monitor.config.sections import ConfigFile, HttpSection, ModelSection, SqlLabelsSection
from monitor.config.tokens import read_tokens
from monitor.errors import OperatorError
from monitor.label_join import LabelSettings
from monitor.log.tables import check_model_name
from monitor.records import Task
from monitor.settings import HttpSettings, ModelSettings, MonitorSettings, RetrainSettings, SqlLabels
from monitor.windows import WindowSettings

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Where secrets and paths of a machine may come from the environment.
_FROM_ENVIRONMENT: tuple[Location, ...] = (("log", "url"), ("state", "url"), ("http", "tokens_file"))


def load_config(path: Path | str, environ: Mapping[str, str] | None = None) -> MonitorSettings:
    """The settings in a file. Raises OperatorError where it cannot be read, DocumentError with every fault in it."""
    path = Path(path)
    environ = os.environ if environ is None else environ
    document = parse_document(_content(path), str(path))
    directory = path.absolute().parent
    if not isinstance(document.data, dict):
        message = f"expected a mapping of keys to values, got {_short(document.data)}"
        raise DocumentError([Fault(None, (), message)], where=str(path))
    faults = [*document.faults, *_expand(document, environ), *_model_name_faults(document)]
    tokens: dict[str, tuple[str, ...]] = {}
    faults += _token_faults(document, directory, tokens)
    file = _validate(document, faults)
    if faults or file is None:
        raise DocumentError(faults, where=str(path))
    return _settings(file, directory, tokens)


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the file, for editors."""
    schema = ConfigFile.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "trueup configuration"}


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OperatorError("the configuration cannot be read", where=str(path), got=error.strerror) from error


def _expand(document: Document, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Put environment variables in; a missing one is a fault."""
    models = document.data.get("models")
    names = models if isinstance(models, dict) else ()
    urls: list[Location] = [("models", name, "labels", "sql", "url") for name in names]
    for *sections, key in (*_FROM_ENVIRONMENT, *urls):
        values: Any = document.data
        for section in sections:
            values = values.get(section) if isinstance(values, dict) else None
        if not isinstance(values, dict) or not isinstance(values.get(key), str):
            continue
        for name in _VARIABLE.findall(values[key]):
            if name not in environ:
                yield document.fault((*sections, key), f"the environment variable {name} is not set")
        values[key] = _VARIABLE.sub(lambda match: environ.get(match.group(1), ""), values[key])


def _model_name_faults(document: Document) -> Iterator[Fault]:
    models = document.data.get("models")
    for name in models if isinstance(models, dict) else ():
        try:
            check_model_name(name)
        except OperatorError as error:
            yield document.fault(("models", name), str(error))


def _token_faults(document: Document, directory: Path, tokens: dict[str, tuple[str, ...]]) -> Iterator[Fault]:
    http = document.data.get("http")
    name = http.get("tokens_file") if isinstance(http, dict) else None
    if not isinstance(name, str):
        return
    try:
        tokens |= read_tokens(directory / name)
    except OperatorError as error:
        yield document.fault(("http", "tokens_file"), str(error))


def _validate(document: Document, faults: list[Fault]) -> ConfigFile | None:
    """The validated file; or None, with everything that is wrong added to `faults`.

    Checks across keys run only where the keys themselves are right: what is wrong is taken out and the rest looked at
    again, until nothing new comes up.
    """
    data = document.data
    while True:
        try:
            return ConfigFile.model_validate(data)
        except ValidationError as error:
            # What a key's absence breaks around it is no fault of its own.
            seen = [fault.location for fault in faults]
            new = [
                fault
                for fault in _faults(document, error)
                if not any(location[: len(fault.location)] == fault.location for location in seen)
            ]
        if not new:
            return None
        faults += new
        for fault in new:
            data = _without(data, fault.location)


def _without(data: Any, location: Location) -> Any:
    """The data less what lies at a location; a list goes as a whole, so that the places of its items stay right."""
    first, rest = location[0] if location else None, location[1:]
    if not isinstance(data, dict) or first not in data:
        return data
    others = {key: value for key, value in data.items() if key != first}
    if not rest or not isinstance(data[first], dict):
        return others
    return {**data, first: _without(data[first], rest)}


def _faults(document: Document, error: ValidationError) -> Iterator[Fault]:
    for detail in error.errors(include_url=False):
        location: Location = tuple(part for part in detail["loc"])
        cause = detail.get("ctx", {}).get("error")
        if isinstance(cause, FaultsError):
            yield from (document.fault((*location, *inner), message) for inner, message in cause.faults)
        elif isinstance(cause, ValueError):
            yield document.fault(location, str(cause))
        elif detail["type"] == "extra_forbidden":
            yield document.fault(location, _unknown_key(location))
        elif detail["type"] == "missing":
            yield document.fault(location, "is missing")
        else:
            yield document.fault(location, f"expected {_expectation(detail)}, got {_short(detail['input'])}")


def _expectation(detail: ErrorDetails) -> str:
    """What pydantic says that it wanted, in the words of the file."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("model_type", "dict_type"):
        return "a mapping of keys to values"
    if kind in ("too_short", "too_long"):
        return (
            f"at least {context['min_length']} entry"
            if kind == "too_short"
            else f"at most {context['max_length']} entries"
        )
    return detail["msg"].removeprefix("Input should be ")


def _unknown_key(location: Location) -> str:
    section = _section_at(location[:-1])
    known = [*section.model_fields] if section else []
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"unknown key (did you mean {close[0]!r}?)" if close else f"unknown key (known: {', '.join(known)})"


def _section_at(location: Location) -> type[BaseModel] | None:
    """The pydantic model that describes what lies at a location; None where there is none."""
    found: Any = ConfigFile
    for part in location:
        if isinstance(found, type) and issubclass(found, BaseModel):
            field = found.model_fields.get(str(part))
            found = field.annotation if field else None
        elif typing.get_origin(found) is dict:
            found = typing.get_args(found)[1]
        found = _without_none(found)
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def _without_none(annotation: Any) -> Any:
    options = [option for option in typing.get_args(annotation) if option is not type(None)]
    return options[0] if len(options) == 1 and typing.get_origin(annotation) is not list else annotation


def _short(value: object) -> str:
    if isinstance(value, dict | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind} of {len(value)}" if value else f"an empty {kind}"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _settings(file: ConfigFile, directory: Path, tokens: dict[str, tuple[str, ...]]) -> MonitorSettings:
    spools = tuple(directory / spool for spool in file.spool)
    own_spool = directory / file.own_spool if file.own_spool else spools[0]
    return MonitorSettings(
        log_url=_located(file.log.url, directory),
        state_url=_located_state(file.state.url, directory),
        spools=spools if own_spool in spools else (*spools, own_spool),
        own_spool=own_spool,
        models=tuple(_model(name, model, directory) for name, model in file.models.items()),
        http=_http(file.http, directory, tokens),
        ingest_interval_seconds=file.ingest.every,
        evaluation_interval_seconds=file.evaluate.every,
        evaluation_deadline_seconds=file.evaluate.deadline,
        dead_letters=directory / file.dead_letters,
        retention_seconds=file.log.retention,
    )


def _http(section: HttpSection, directory: Path, tokens: dict[str, tuple[str, ...]]) -> HttpSettings:
    host, port = section.address
    tokens_file = directory / section.tokens_file if section.tokens_file is not None else None
    return HttpSettings(host, port, tokens, tokens_file, section.maximum_body_bytes)


def _model(name: str, section: ModelSection, directory: Path) -> ModelSettings:
    labels, columns, retrain = section.labels, section.columns, section.retrain
    bundle = directory / section.bundle if section.bundle is not None else None
    task = section.task or ("classification" if section.classes else None)
    return ModelSettings(
        name=name,
        bundle=bundle,
        reference=directory / section.reference if section.reference is not None else None,
        task=task,
        classes=tuple(section.classes),
        windows=WindowSettings(
            section.panes, tuple(section.windows), section.allowed_lateness, section.idle_after, section.future_guard
        ),
        labels=LabelSettings(labels.horizon, labels.final_at_coverage, labels.expected_coverage, labels.minimum),
        checks=section.check_settings(task or _bundle_task(bundle)),
        segments=tuple(section.segments),
        segment_values={name: values for name, values in section.segments.items() if values},
        column_map={column: role for role, column in columns.map.items()},
        excluded_columns=tuple(columns.exclude),
        timezone=columns.timezone,
        epoch_unit=columns.epoch,
        false_alarms=section.false_alarms,
        observations=section.season.settings,
        alarms=AlarmSettings(
            labels.minimum, section.alarms.holdoff, section.alarms.keep_firing, section.alarms.show_resolved
        ),
        retrain=None
        if retrain is None
        else RetrainSettings(tuple(retrain.on), retrain.cooldown, retrain.minimum_labels, retrain.runner),
        sql_labels=_sql_labels(labels.sql, directory) if labels.sql else None,
    )


def _sql_labels(section: SqlLabelsSection, directory: Path) -> SqlLabels:
    url = _located_state(section.url, directory)
    return SqlLabels(url, section.query, section.cursor, section.every, section.start, section.overlap)


def _bundle_task(bundle: Path | None) -> Task | None:
    """The task of a bundle that is already there, so that its default checks are those of the task."""
    if bundle is None:
        return None
    for manifest in (bundle / "manifest.json", *sorted(bundle.glob("[!.]*/manifest.json"))):
        try:
            task = json.loads(manifest.read_bytes())["task"]
        except (OSError, ValueError, KeyError, TypeError):
            continue  # `references` reports what is wrong with a bundle; here it only says nothing
        if task in ("classification", "regression"):
            return "classification" if task == "classification" else "regression"
    return None


def _located(url: str, directory: Path) -> str:
    """A log URL with its folder absolute, if it is one."""
    if "://" in url and not url.startswith("file://"):
        return url
    return os.path.normpath(directory / url.removeprefix("file://"))


def _located_state(url: str, directory: Path) -> str:
    """A state URL with its SQLite file absolute; other databases as they are."""
    prefix = "sqlite:///"
    name, question, options = url.removeprefix(prefix).partition("?")
    if not url.startswith(prefix) or name in ("", ":memory:"):
        return url
    return prefix + os.path.normpath(directory / name) + question + options
