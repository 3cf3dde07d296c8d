"""The kinds of panels on trueup's dashboards: one function each, so that all panels of a kind look alike.

What lives here: shapes, colours and defaults. What must not: which metrics are shown where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, Literal, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

DATASOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
GREEN, YELLOW, RED, BLUE, GREY = "green", "yellow", "red", "blue", "text"

Role = Literal["value", "bound", "limit"]
Steps = Sequence[tuple[float | None, str]]
# Every panel sets its steps: Grafana's own default turns red at 80, whatever the unit.
NEUTRAL: Steps = ((None, GREEN),)

PanelBuilder = TypeVar("PanelBuilder", stat.Panel, timeseries.Panel, table.Panel, statetimeline.Panel)


@dataclass(frozen=True)
class Query:
    """A PromQL expression and its legend; bounds are drawn thin, limits dashed and red."""

    expr: str
    legend: str = ""
    role: Role = "value"


def headline(
    title: str,
    description: str,
    unit: str,
    expr: str,
    *,
    steps: Steps = NEUTRAL,
    mappings: Mapping[str, tuple[str, str]] | None = None,
    no_value: str = "no data",
    decimals: int | None = None,
) -> stat.Panel:
    """A single number, coloured by `steps`; `mappings` shows text and colour instead of a number."""
    panel = _common(stat.Panel(), title, description, unit, steps).height(4).span(3).no_value(no_value)
    panel.with_target(_target(Query(expr), "A").instant())
    panel.graph_mode(common.BigValueGraphMode.NONE).color_mode(common.BigValueColorMode.VALUE)
    panel.reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields(""))
    if decimals is not None:
        panel.decimals(decimals)
    if mappings:
        panel.mappings([_mapping(mappings)])
    return panel


def time_series(
    title: str,
    description: str,
    unit: str,
    *queries: Query,
    width: int = 12,
    minimum: float | None = None,
    maximum: float | None = None,
) -> timeseries.Panel:
    """Lines over time, with the latest value in the legend."""
    panel = _common(timeseries.Panel(), title, description, unit, NEUTRAL).height(8).span(width)
    panel.line_width(2).fill_opacity(0).show_points(common.VisibilityMode.AUTO)
    panel.legend(
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull"])
    )
    panel.tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.NONE))
    if minimum is not None:
        panel.axis_soft_min(minimum)
    if maximum is not None:
        panel.axis_soft_max(maximum)
    for ref, query in zip(ascii_uppercase, queries, strict=False):
        panel.with_target(_target(query, ref).range())
        if query.role != "value":
            panel.override_by_query(ref, _line(query.role))
    return panel


def timeline(
    title: str, description: str, query: Query, mappings: Mapping[str, tuple[str, str]], *, width: int = 24
) -> statetimeline.Panel:
    """States over time, one bar per series."""
    panel = _common(statetimeline.Panel(), title, description, "none", NEUTRAL).height(7).span(width)
    panel.with_target(_target(query, "A").range())
    panel.mappings([_mapping(mappings)]).show_value(common.VisibilityMode.NEVER).row_height(0.8)
    panel.legend(
        common_builders.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.LIST)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    return panel


def instant_table(
    title: str,
    description: str,
    unit: str,
    columns: Sequence[tuple[str, str]],
    *,
    labels: Mapping[str, str],
    sort_by: str,
    width: int = 24,
    units: Mapping[str, str] | None = None,
) -> table.Panel:
    """A table of the latest values: `columns` are (heading, expression), `labels` the labels shown with headings.

    The expressions have the same labels, and so become one row per set of labels.
    """
    panel = _common(table.Panel(), title, description, unit, NEUTRAL).height(9).span(width)
    headings = dict(labels)
    for ref, (heading, expr) in zip(ascii_uppercase, columns, strict=False):
        panel.with_target(_target(Query(expr), ref).instant().format(PromQueryFormat.TABLE))
        headings[f"Value #{ref}" if len(columns) > 1 else "Value"] = heading
    # Only the fields named are kept: Time, job, instance and whatever labels Prometheus adds stay out.
    keep = models.DataTransformerConfig(id_val="filterFieldsByName", options={"include": {"names": list(headings)}})
    order = models.DataTransformerConfig(
        id_val="organize",
        options={
            "excludeByName": {},
            "indexByName": {name: place for place, name in enumerate(headings)},
            "renameByName": headings,
        },
    )
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(keep).with_transformation(order)
    panel.sort_by([common_builders.TableSortByFieldState().display_name(sort_by).desc(True)])
    for heading, own in (units or {}).items():
        panel.override_by_name(heading, [models.DynamicConfigValue("unit", own)])
    return panel


def row(title: str, *panels: Any, collapsed: bool = False) -> tuple[builders.Row, tuple[Any, ...]]:
    """A row and the panels that stand below it (inside it where it is collapsed)."""
    heading = builders.Row(title).collapsed(collapsed)
    if collapsed:
        for panel in panels:
            heading.with_panel(panel)
        return heading, ()
    return heading, panels


def _common(panel: PanelBuilder, title: str, description: str, unit: str, steps: Steps) -> PanelBuilder:
    thresholds = builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE)
    thresholds.steps([models.Threshold(value=value, color=color) for value, color in steps])
    return panel.title(title).description(description).unit(unit).datasource(DATASOURCE).thresholds(thresholds)


def _target(query: Query, ref: str) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).ref_id(ref).datasource(DATASOURCE)
    return target.legend_format(query.legend) if query.legend else target


def _line(role: Role) -> list[models.DynamicConfigValue]:
    if role == "limit":
        return [
            models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [10, 6]}),
            models.DynamicConfigValue("custom.lineWidth", 1),
            models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": RED}),
        ]
    return [
        models.DynamicConfigValue("custom.lineStyle", {"fill": "dot", "dash": [0, 4]}),
        models.DynamicConfigValue("custom.lineWidth", 1),
    ]


def _mapping(texts: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(texts.items())
        }
    )
