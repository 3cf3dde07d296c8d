"""The settings in force, as the configuration file that would say all of them.

What lives here: settings to YAML; what `load_config` makes of it is equal. What must not: checks, secrets (a token or a
password is never shown).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import yaml

from monitor.config.thresholds import DRIFT_METRICS, threshold_text
from monitor.settings import ModelSettings, MonitorSettings, SqlLabels
from monitor.verdict import Check, CheckSettings
from monitor.windows import format_duration

_SHORT = {metric: name for name, metric in DRIFT_METRICS.items()}
_PASSWORD = re.compile(r"(://[^/@:]*):[^@]*@")


def show(settings: MonitorSettings) -> str:
    """The effective configuration as YAML, defaults and absolute paths included, passwords replaced by ***."""
    http = settings.http
    host = f"[{http.host}]" if ":" in http.host else http.host
    content = {
        "log": _given(url=_hidden(settings.log_url), retention=_optional(settings.retention_seconds)),
        "state": {"url": _hidden(settings.state_url)},
        "spool": [str(spool) for spool in settings.spools],
        "own_spool": str(settings.own_spool),
        "dead_letters": str(settings.dead_letters),
        "http": _given(
            listen=f"{host}:{http.port}",
            tokens_file=_optional(http.tokens_file, str),
            maximum_body_bytes=http.maximum_body_bytes,
        ),
        "ingest": {"every": format_duration(settings.ingest_interval_seconds)},
        "evaluate": {
            "every": format_duration(settings.evaluation_interval_seconds),
            "deadline": format_duration(settings.evaluation_deadline_seconds),
        },
        "models": {model.name: _model(model) for model in settings.models},
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def show_checks(checks: CheckSettings) -> str:
    """The checks as the fragment `checks:` of a model in the configuration file; limits of drift as plain numbers."""
    content = _checks(checks)
    for check in checks.columns:
        levels = {"warning": check.warning, "critical": check.critical}
        limits = {level: threshold.value for level, threshold in levels.items() if threshold is not None}
        content["drift"][_SHORT[check.metric]] = limits
    return yaml.safe_dump({"checks": content}, sort_keys=False, allow_unicode=True, width=100)


def _model(model: ModelSettings) -> dict[str, Any]:
    windows, labels, retrain, season = model.windows, model.labels, model.retrain, model.observations
    return _given(
        task=model.task,
        classes=list(model.classes) or None,
        bundle=_optional(model.bundle, str),
        reference=_optional(model.reference, str),
        panes=format_duration(windows.pane_seconds),
        windows=[format_duration(window) for window in windows.window_seconds],
        allowed_lateness=format_duration(windows.allowed_lateness_seconds),
        idle_after=format_duration(windows.idle_after_seconds),
        future_guard=format_duration(windows.future_guard_seconds),
        labels=_given(
            horizon=format_duration(labels.horizon_seconds),
            final_at_coverage=labels.final_at_coverage,
            expected_coverage=labels.expected_coverage,
            minimum=labels.minimum,
            sql=model.sql_labels and _sql(model.sql_labels),
        ),
        segments=_segments(model),
        columns=_given(
            map={role: column for column, role in model.column_map.items()} or None,
            exclude=list(model.excluded_columns) or None,
            timezone=model.timezone,
            epoch=model.epoch_unit,
        )
        or None,
        checks=_checks(model.checks),
        false_alarms=str(model.false_alarms),
        season=_given(
            length=_optional(season.season_seconds) or "off",
            observe=format_duration(season.observe_seconds),
            match=season.match,
            design_effect=season.design_effect,
        ),
        alarms={
            "holdoff": format_duration(model.alarms.holdoff_seconds),
            "keep_firing": format_duration(model.alarms.keep_firing_seconds),
            "show_resolved": format_duration(model.alarms.show_resolved_seconds),
        },
        retrain=retrain
        and {
            "on": list(retrain.on),
            "cooldown": format_duration(retrain.cooldown_seconds),
            "minimum_labels": retrain.minimum_labels,
            "runner": retrain.runner,
        },
    )


def _segments(model: ModelSettings) -> Any:
    """As names alone where no values are given; a segment without any has none beside its name."""
    if not model.segment_values:
        return list(model.segments) or None
    return {name: list(model.segment_values.get(name, ())) or None for name in model.segments}


def _sql(source: SqlLabels) -> dict[str, Any]:
    return _given(
        url=_hidden(source.url),
        query=source.query,
        cursor=source.cursor,
        every=format_duration(source.every_seconds),
        start=source.start,
        overlap=format_duration(source.overlap_seconds),
    )


def _checks(checks: CheckSettings) -> dict[str, Any]:
    content: dict[str, Any] = {check.metric: _limits(check) for check in checks.values}
    drift: dict[str, Any] = {_SHORT[check.metric]: _limits(check) for check in checks.columns}
    content["drift"] = {**drift, "minimum_rows": checks.minimum_rows}
    return content


def _limits(check: Check) -> dict[str, str]:
    levels = {"warning": check.warning, "critical": check.critical}
    return {level: threshold_text(threshold) for level, threshold in levels.items() if threshold is not None}


def _hidden(url: str) -> str:
    return _PASSWORD.sub(r"\1:***@", url)


def _optional(value: Any, text: Callable[[Any], str] = format_duration) -> str | None:
    return None if value is None else text(value)


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
