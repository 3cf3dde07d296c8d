"""The alert rules tell drift from performance by the names of checks: all that may alarm."""

import re

import yaml

from monitor.config.thresholds import DRIFT_METRICS
from monitor.statistics.embedding_drift import STATISTICS as EMBEDDING_STATISTICS
from tests.prometheus_server import RULES


def test_alarms_on_inputs_are_told_apart_by_every_drift_check_there_is() -> None:
    rules = {
        rule["alert"]: rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    }
    wanted = "|".join(metric for metric in DRIFT_METRICS.values() if metric not in EMBEDDING_STATISTICS)
    assert re.findall(r'check!~"([^"]*)"', rules["TrueupAlarmFiring"]) == [wanted]
    assert re.findall(r'check=~"([^"]*)"', rules["TrueupDriftAlarmFiring"]) == [wanted]
