"""The dashboard of one model: is it still good, on what evidence, and is the monitor itself well?

What lives here: its order, variables, links and annotations. What must not: looks (`panels`), rows, files (`build`).
"""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models import dashboard as models

from grafana import estimate_rows
from grafana.data_rows import drift, embeddings, labels
from grafana.panels import DATASOURCE, RED, row
from grafana.performance_rows import classification, headlines, regression
from grafana.segment_rows import segments
from grafana.selectors import DAEMON, MODEL
from grafana.watch_rows import alarms, health

UID = "trueup-model"
DATASOURCE_UID = "trueup-prometheus"


def model_dashboard() -> models.Dashboard:
    """The dashboard, with panel ids in reading order."""
    dashboard = (
        builders.Dashboard("trueup: model")
        .uid(UID)
        .description("Performance, drift, labels and alarms of one model, and the health of its monitor.")
        .tags(["trueup", "machine-learning"])
        .timezone("utc")
        .refresh("1m")
        .time("now-24h", "now")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .annotation(_alerts())
        .link(_siblings())
    )
    for variable in _variables():
        dashboard.with_variable(variable)
    for heading, panels in (
        row("Now", *headlines()),
        row("Performance of a classifier", *classification()),
        row("Performance of a classifier without labels", *estimate_rows.classification(), collapsed=True),
        row("Performance of a regression", *regression(), *estimate_rows.regression(), collapsed=True),
        row("Drift", *drift()),
        row("Drift of embeddings", *embeddings(), collapsed=True),
        row("Segments", *segments(), collapsed=True),
        row("Labels", *labels()),
        row("Verdicts and alarms", *alarms()),
        row("Monitor health", *health()),
    ):
        dashboard.with_row(heading)
        for panel in panels:
            dashboard.with_panel(panel)
    built = dashboard.build()
    _number(built)
    return built


def _number(dashboard: models.Dashboard) -> None:
    """Ids from 1 in reading order: without them Grafana gives its own, and the file differs at each export."""
    following = 1
    for panel in dashboard.panels or []:
        inside = panel.panels if isinstance(panel, models.RowPanel) else []
        for item in (panel, *inside):
            item.id_val = following
            following += 1


def _variables() -> list[Any]:
    def query(name: str, label: str, text: str, expr: str) -> builders.QueryVariable:
        variable = builders.QueryVariable(name).label(label).description(text).datasource(DATASOURCE).query(expr)
        return variable.refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED).sort(models.VariableSort.NATURAL_ASC)

    datasource = builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
    datasource.current(models.VariableOption(selected=True, text="Prometheus", value=DATASOURCE_UID))
    maturity = builders.CustomVariable("maturity").label("Maturity").values("provisional,final")
    maturity.description("provisional: the rolling window that ends now; final: the latest whose labels are complete")
    maturity.current(models.VariableOption(selected=True, text="provisional", value="provisional"))
    versions = query("version", "Version", "Model version", f"label_values(trueup_model_info{{{MODEL}}}, version)")
    return [
        datasource.description("The Prometheus that scrapes trueup"),
        query("job", "Job", "Scrape job of the monitor", "label_values(trueup_build_info, job)"),
        query("model", "Model", "Monitored model", f"label_values(trueup_model_info{{{DAEMON}}}, model)"),
        versions.multi(True)
        .include_all(True)
        .all_value(".*")
        .current(models.VariableOption(selected=True, text=["All"], value=["$__all"])),
        query(
            "window",
            "Window",
            "Length of the window",
            f"label_values(trueup_window_end_timestamp_seconds{{{MODEL}}}, window)",
        ),
        maturity,
    ]


def _alerts() -> builders.AnnotationQuery:
    alerts = builders.AnnotationQuery().name("Alerts").datasource(DATASOURCE).enable(True).icon_color(RED)
    return alerts.expr('ALERTS{alertname=~"Trueup.+", alertstate="firing", model=~"$model|"}')


def _siblings() -> builders.DashboardLink:
    link = builders.DashboardLink("trueup dashboards").type(models.DashboardLinkType.DASHBOARDS).tags(["trueup"])
    return link.as_dropdown(True).include_vars(True).keep_time(True).tooltip("Other dashboards of trueup").icon("apps")
