"""What each column of a file or a request is: its role, by the usual names or as mapped.

What lives here: names only. What must not: values, files, HTTP.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from monitor.errors import RecordError
from monitor.records import EMBEDDING, FEATURE_PREFIX, PROBABILITY_PREFIX, SEGMENT_PREFIX, Kind, ModelSchema

if TYPE_CHECKING:
    from monitor.settings import EpochUnit, ModelSettings

_ROLES: Mapping[Kind, frozenset[str]] = {
    "prediction": frozenset(
        {"prediction_id", "version", "event_time", "prediction", "latency_seconds", "request_id", "model", EMBEDDING}
    ),
    "label": frozenset({"prediction_id", "label", "label_time", "source", "event_time", "model"}),
}
# Short names that a mapping may use for a role.
_ALIASES: Mapping[Kind, Mapping[str, str]] = {
    "prediction": {"id": "prediction_id", "time": "event_time"},
    "label": {"id": "prediction_id", "time": "label_time"},
}
# What data frames write their row numbers as; a CSV file leaves the name out.
INDEX_COLUMNS = frozenset({"Unnamed: 0", "__index_level_0__"})
MOST_COLUMNS = 2_000
_LONGEST_NAME = 200


@dataclass(frozen=True)
class SourceRules:
    """How the records of one model are written by those who send them.

    `column_map`: column name to role (or to the name it should have). `version`: of rows that name none. `source`: of
    labels that name none. `features`: Arrow types that features are known to have; others are what the first rows show.
    """

    model: ModelSchema
    segments: tuple[str, ...] = ()
    column_map: Mapping[str, str] = field(default_factory=dict)
    excluded: frozenset[str] = frozenset()
    timezone: str | None = None
    epoch_unit: EpochUnit | None = None
    version: str | None = None
    source: str | None = None
    features: Mapping[str, pa.DataType] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: ModelSchema,
        settings: ModelSettings,
        *,
        version: str | None = None,
        source: str | None = None,
        features: Mapping[str, pa.DataType] | None = None,
    ) -> SourceRules:
        """The rules of a configured model."""
        return cls(
            model,
            settings.segments,
            settings.column_map,
            frozenset(settings.excluded_columns),
            settings.timezone,
            settings.epoch_unit,
            version,
            source,
            features or {},
        )


@dataclass(frozen=True)
class ColumnRoles:
    """Column names by what they hold: by role, and predictions' probabilities, segments and features by their name."""

    roles: Mapping[str, str]
    probabilities: Mapping[str, str] = field(default_factory=dict)
    segments: Mapping[str, str] = field(default_factory=dict)
    features: Mapping[str, str] = field(default_factory=dict)


def assign_roles(names: Sequence[str], kind: Kind, rules: SourceRules, where: str) -> ColumnRoles:
    """Roles of the columns `names`. Raises RecordError where two columns claim one role or a name cannot be one."""
    check_names(names, where)
    aliases, roles = _ALIASES[kind], _ROLES[kind]
    classes, segments = set(rules.model.probability_columns), set(rules.segments)
    mapped = {name: aliases.get(role, role) for name, role in rules.column_map.items() if name in names}
    found: tuple[dict[str, str], ...] = ({}, {}, {}, {})
    for name in names:
        target = mapped.get(name, name)
        if name in rules.excluded or (name not in mapped and (target in mapped.values() or name in INDEX_COLUMNS)):
            continue  # what is mapped to a role takes the place of the column that merely has its name
        group, key = 3, target.removeprefix(FEATURE_PREFIX)
        if target in roles:
            group, key = 0, target
        elif target in classes:
            group, key = 1, target.removeprefix(PROBABILITY_PREFIX)
        elif target in segments or (target.startswith(SEGMENT_PREFIX) and target[len(SEGMENT_PREFIX) :] in segments):
            group, key = 2, target if target in segments else target.removeprefix(SEGMENT_PREFIX)
        if key in found[group]:
            raise RecordError(f"two columns hold {target}", where=where, got=f"{found[group][key]} and {name}")
        found[group][key] = name
    return ColumnRoles(*found) if kind == "prediction" else ColumnRoles(found[0])


def require_roles(columns: ColumnRoles, names: Iterable[str], kind: Kind, rules: SourceRules, where: str) -> None:
    """Raises RecordError where a file lacks a column without which none of its rows could be taken."""
    needed = ["prediction_id", "event_time", "prediction"] if kind == "prediction" else ["prediction_id", "label"]
    if kind == "prediction" and rules.version is None:
        needed.append("version")
    for role in needed:
        if role in columns.roles or (role == "prediction" and columns.probabilities):
            continue
        raise RecordError(
            f"no column holds the {role}",
            where=where,
            expected=f"a column {role}",
            got=f"columns {', '.join(sorted(names)) or 'none'}",
            hint=f"Name it: --map {'id' if role == 'prediction_id' else role}=COLUMN",
        )


def check_names(names: Sequence[str], where: str) -> None:
    """Raises RecordError where there are too many columns, two of one name, or a name that can be none."""
    if len(names) > MOST_COLUMNS:
        raise RecordError("too many columns", where=where, expected=f"at most {MOST_COLUMNS}", got=str(len(names)))
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise RecordError("two columns have the same name", where=where, got=repr(name))
        seen.add(name)
        if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
            expected = f"1 to {_LONGEST_NAME} printable characters"
            raise RecordError("not a column name", where=where, expected=expected, got=repr(name)[:_LONGEST_NAME])
