"""What every query of the model's dashboard selects, in the dashboard's variables; and how states are shown.

What lives here: label matchers and value mappings. What must not: panels.
"""

from __future__ import annotations

from grafana.panels import GREEN, GREY, RED, YELLOW

DAEMON = 'job="$job"'
MODEL = f'{DAEMON}, model="$model"'
VERSION = f'{MODEL}, version=~"$version"'
WINDOW = f'{VERSION}, window="$window", maturity="$maturity"'

VERDICTS = {
    "0": ("insufficient", GREY),
    "1": ("ok", GREEN),
    "2": ("warning", YELLOW),
    "3": ("critical", RED),
}
YES_NO = {"0": ("no", RED), "1": ("yes", GREEN)}
