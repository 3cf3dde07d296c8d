"""The alert rules tell drift from performance by the names of checks: all names there are."""

import re

import yaml

from monitor.config.thresholds import DRIFT_METRICS
from tests.prometheus_server import RULES


def test_alarms_on_inputs_are_told_apart_by_every_drift_check_there_is() -> None:
    rules = {
        rule["alert"]: rule["expr"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
    }
    wanted = "|".join(DRIFT_METRICS.values())
    assert re.findall(r'check!~"([^"]*)"', rules["TrueupAlarmFiring"]) == [wanted]
    assert re.findall(r'check=~"([^"]*)"', rules["TrueupDriftAlarmFiring"]) == [wanted]
