"""The kinds of values that the configuration file has: durations, names, thresholds, budgets, time zones.

What lives here: their checks, as annotated types that pydantic understands. What must not: keys, sections.
"""

from __future__ import annotations

import functools
import zoneinfo
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainValidator, WithJsonSchema

from monitor.config.thresholds import parse_threshold
from monitor.errors import OperatorError, TrueupError
from monitor.profiles.segments import MISSING, OTHER
from monitor.statistics.multiplicity import FalseAlarmBudget, parse_budget
from monitor.verdict import Threshold
from monitor.windows import parse_duration

MOST_SEGMENTS = 20
MOST_SEGMENT_VALUES = 100
LONGEST_DURATION_SECONDS = 36_500 * 86_400.0


def refusing(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function with our errors as the ValueError that pydantic collects."""

    @functools.wraps(function)
    def checked(value: Any) -> Any:
        try:
            return function(value)
        except TrueupError as error:
            raise ValueError(str(error)) from error

    return checked


def _duration(value: Any) -> float:
    if not isinstance(value, str) or len(value) > 50:
        expected = "a number and its unit, such as 5m or 1h30m"
        raise OperatorError("not a duration", expected=expected, got=repr(value)[:50])
    seconds = parse_duration(value)
    if not seconds <= LONGEST_DURATION_SECONDS:
        raise OperatorError("too long", expected="at most 100 years", got=value)
    return seconds


def _positive(value: Any) -> float:
    seconds = _duration(value)
    if seconds == 0:
        raise OperatorError("must be longer than 0 s", got=value)
    return seconds


def _name(value: Any) -> str:
    # Digits are classes too, and YAML reads them as numbers.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not 0 < len(text) <= 200 or not text.isprintable() or text != text.strip():
        raise OperatorError("not a name", expected="1 to 200 printable characters", got=repr(value)[:200])
    return text


def _segments(value: Any) -> dict[str, tuple[str, ...]]:
    given = list(value.items()) if isinstance(value, dict) else [(name, None) for name in value or ()]
    found: dict[str, tuple[str, ...]] = {}
    for key, values in given:
        name = _name(key)
        if name in found:
            raise OperatorError(f"{name} is given twice")
        found[name] = tuple(sorted(_name(item) for item in values or ()))
        if len(set(found[name])) < len(found[name]) or {OTHER, MISSING} & set(found[name]):
            expected = f"each value once, and none called {OTHER} or {MISSING}"
            raise OperatorError(
                "not the values of a segment", where=name, expected=expected, got=", ".join(found[name])
            )
        if len(found[name]) > MOST_SEGMENT_VALUES:
            expected = f"at most {MOST_SEGMENT_VALUES} values; the others are counted together"
            raise OperatorError("too many values", where=name, expected=expected, got=str(len(found[name])))
    if len(found) > MOST_SEGMENTS:
        raise OperatorError("too many segments", expected=f"at most {MOST_SEGMENTS}", got=str(len(found)))
    return found


def _segment_form(value: Any) -> dict[str, tuple[str, ...]]:
    is_form = isinstance(value, list) or (
        isinstance(value, dict) and all(isinstance(item, list | None) for item in value.values())
    )
    if not is_form:
        raise OperatorError(
            "not a list of segments", expected="names, or names with lists of their values", got=repr(value)[:50]
        )
    return _segments(value)


def _budget(value: Any) -> FalseAlarmBudget:
    return parse_budget((value if isinstance(value, str) else repr(value))[:50])


def _timezone(value: Any) -> str:
    try:
        return zoneinfo.ZoneInfo(value).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, TypeError, OSError) as error:
        raise ValueError(f"not a time zone (expected an IANA name such as Europe/Berlin, got {value!r})") from error


_DURATION_SCHEMA = {"type": "string", "pattern": r"^(\s*\d+(\.\d+)?\s*[smhdw])+\s*$", "examples": ["5m", "1h30m"]}
Duration = Annotated[float, BeforeValidator(refusing(_positive)), WithJsonSchema(_DURATION_SCHEMA)]
DurationOrZero = Annotated[float, BeforeValidator(refusing(_duration)), WithJsonSchema(_DURATION_SCHEMA)]
Name = Annotated[str, BeforeValidator(refusing(_name)), WithJsonSchema({"type": ["string", "integer"]})]
Limit = Annotated[
    Threshold | float,
    PlainValidator(refusing(parse_threshold)),
    WithJsonSchema({"type": ["string", "number"], "examples": ["+10%", "< 0.90", 0.25, "learnt"]}),
]
Budget = Annotated[
    FalseAlarmBudget,
    PlainValidator(refusing(_budget)),
    WithJsonSchema({"type": "string", "examples": ["1 per 90d"]}),
]
Segments = Annotated[
    dict[str, tuple[str, ...]],
    PlainValidator(refusing(_segment_form)),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "array", "items": {"type": ["string", "integer"]}, "maxItems": MOST_SEGMENTS},
                {
                    "type": "object",
                    "maxProperties": MOST_SEGMENTS,
                    "additionalProperties": {
                        "type": ["array", "null"],
                        "items": {"type": ["string", "integer"]},
                        "maxItems": MOST_SEGMENT_VALUES,
                    },
                },
            ],
            "examples": [["region"], {"region": ["eu", "us"]}],
        }
    ),
]
TimeZone = Annotated[str, BeforeValidator(_timezone), WithJsonSchema({"type": "string"})]
