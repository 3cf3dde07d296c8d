"""The configuration file becomes settings, or a list of everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.config import DocumentError, json_schema, load_config, show
from monitor.errors import OperatorError, TrueupError
from monitor.settings import ModelSettings, MonitorSettings, RetrainSettings, SqlLabels
from monitor.statistics.multiplicity import FalseAlarmBudget
from monitor.statistics.seasons import ObservationSettings
from monitor.verdict import Check, Threshold

DESIGN = """\
log: {url: ./trueup-data/log}
state: {url: "sqlite:///trueup-data/state.db"}
http: {listen: "127.0.0.1:9464"}
models:
  digits:
    task: classification
    bundle: ./models/digits
    panes: 5m
    windows: [1h, 1d, 7d]
    allowed_lateness: 10m
    labels: {horizon: 14d, final_at_coverage: 0.95, minimum: 200}
    segments: [region]
    checks:
      cross_entropy: {warning: "+10%", critical: "+25%"}     # against the reference
      accuracy: {critical: "< 0.90"}
      drift: {psi: {warning: 0.1, critical: 0.25}}
    false_alarms: 1 per 90d
    retrain: {on: [accuracy, cross_entropy], cooldown: 7d, minimum_labels: 2000, runner: finetune}
"""


def load(folder: Path, text: str, **environ: str) -> MonitorSettings:
    path = folder / "trueup.yaml"
    path.write_text(text)
    return load_config(path, environ)


def model(folder: Path, text: str) -> ModelSettings:
    indented = "".join(f"    {line}\n" for line in text.splitlines())
    return load(folder, f"models:\n  m:\n{indented}").models[0]


def faults(folder: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(DocumentError) as caught:
        load(folder, text, **environ)
    assert str(caught.value).startswith(f"{folder / 'trueup.yaml'}: {len(caught.value.faults)} fault")
    assert all(str(fault) in str(caught.value) for fault in caught.value.faults)
    return [str(fault) for fault in caught.value.faults]


def test_the_file_of_the_design_gives_its_settings(tmp_path: Path) -> None:
    settings = load(tmp_path, DESIGN)
    assert settings.log_url == str(tmp_path / "trueup-data/log")
    assert settings.state_url == f"sqlite:///{tmp_path}/trueup-data/state.db"
    [digits] = settings.models
    assert digits.bundle == tmp_path / "models/digits"
    assert digits.windows.window_seconds == (3600, 86_400, 604_800)
    assert digits.windows.allowed_lateness_seconds == 600
    assert digits.labels.horizon_seconds == 14 * 86_400
    assert digits.segments == ("region",)
    assert digits.checks.values == (
        Check("accuracy", None, Threshold("below", 0.90)),
        Check("cross_entropy", Threshold("above", 0.10, relative=True), Threshold("above", 0.25, relative=True)),
    )
    assert digits.checks.columns == (
        Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25)),
    )
    assert digits.false_alarms == FalseAlarmBudget(1, 90 * 86_400)
    assert digits.retrain == RetrainSettings(("accuracy", "cross_entropy"), 7 * 86_400, 2000, "finetune")


def test_only_the_bundle_is_needed(tmp_path: Path) -> None:
    settings = load(tmp_path, "models: {m: {bundle: b}}")
    assert settings.own_spool == tmp_path / "trueup-data/spool"
    assert settings.spools == (settings.own_spool,)
    assert settings.dead_letters == tmp_path / "trueup-data/dead-letters"
    assert (settings.http.host, settings.http.port, settings.http.token_digests) == ("127.0.0.1", 9464, {})
    assert (settings.ingest_interval_seconds, settings.evaluation_interval_seconds) == (15, 60)
    assert settings.evaluation_deadline_seconds == 300
    assert settings.retention_seconds is None
    assert settings.models[0].observations == ObservationSettings(86_400, 3600, "season")
    assert settings.models[0].retrain is None


def test_default_checks_are_those_of_the_task(tmp_path: Path) -> None:
    def metrics(text: str) -> list[str]:
        return [check.metric for check in model(tmp_path, text).checks.values]

    assert metrics("task: regression") == ["mean_squared_error"]
    assert metrics("classes: [a, b]") == ["accuracy", "cross_entropy"]
    assert metrics("bundle: later") == ["accuracy", "cross_entropy", "mean_squared_error"]
    (tmp_path / "made/1").mkdir(parents=True)
    (tmp_path / "made/1/manifest.json").write_text('{"task": "regression"}')
    assert metrics("bundle: made") == ["mean_squared_error"]
    [psi] = model(tmp_path, "task: regression").checks.columns
    assert psi == Check("population_stability_index", Threshold("above", 0.1), Threshold("above", 0.25))


def test_checks_that_are_given_are_all_there_are(tmp_path: Path) -> None:
    checks = model(tmp_path, "bundle: b\nchecks: {recall: {warning: '-5%'}}").checks
    assert [check.metric for check in checks.values] == ["recall"]
    assert checks.columns == ()
    checks = model(
        tmp_path, "bundle: b\nchecks: {drift: {js: {warning: 0.2}, ks: {critical: 0.3}, minimum_rows: 7}}"
    ).checks
    assert [check.metric for check in checks.columns] == ["jensen_shannon_distance", "kolmogorov_smirnov_statistic"]
    assert checks.minimum_rows == 7


def test_everything_wrong_is_listed_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
ingest: {every: 15}
modls: 3
models:
  "../etc": {bundle: x}
  labels:
    task: clasification
    bundle: 7
    windws: [1h]
    windows: [1h, 7m, x]
    checks:
      acuracy: {}
      accuracy: {warning: 0.9}
      cross_entropy: {warning: "-5%"}
      drift: {psi: high}
  c:
    task: classification
    bundle: m
    bundle: n
    windows: [1h, 7m]
    classes: [1, 2, 1]
    season: {length: 1d, observe: 7h, match: phase}
    retrain: {on: [f1]}
"""
    assert faults(tmp_path, text) == [
        "line 1: ingest.every: not a duration (expected a number and its unit, such as 5m or 1h30m, got 15)",
        "line 2: modls: unknown key (did you mean 'models'?)",
        "line 4: models.../etc: not a model name (expected letters, digits, '.', '_' or '-', at most 100, no leading"
        " '.', got '../etc')",
        "line 6: models.labels.task: expected 'classification' or 'regression', got 'clasification'",
        "line 7: models.labels.bundle: expected a valid string, got 7",
        "line 8: models.labels.windws: unknown key (did you mean 'windows'?)",
        "line 9: models.labels.windows.2: not a duration (expected a number and s, m, h, d or w, such as 5m or 1h30m,"
        " got x)",
        "line 11: models.labels.checks.acuracy: unknown key (did you mean 'accuracy'?)",
        "line 12: models.labels.checks.accuracy.warning: a plain number does not say which side is bad (expected"
        " '< 0.9' or '> 0.9', got 0.9)",
        "line 13: models.labels.checks.cross_entropy.warning: cross_entropy is better when lower, so this is no harm"
        " (expected a threshold such as '+10%', got -5%)",
        "line 14: models.labels.checks.drift.psi: expected a mapping of keys to values, got 'high'",
        "line 18: models.c.bundle: given twice (first in line 17)",
        "line 19: models.c.windows.1: a window must be a whole number of panes (expected a multiple of 5m, got 7m)",
        "line 20: models.c.classes: class names repeat (1, 2, 1)",
        "line 21: models.c.season: a season must be a whole number of observations (expected a multiple of 7h, got 1d)",
        "line 22: models.c.retrain.on.0: not among the model's checks (expected one of accuracy, cross_entropy,"
        " got f1)",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "expected a mapping of keys to values, got nothing"),
        ("models:", "line 1: models: expected a mapping of keys to values, got nothing"),
        ("- 1", "expected a mapping of keys to values, got a list of 1"),
        ("models: {}", "line 1: models: expected at least 1 entry, got an empty mapping"),
        (
            "models: {m: }",
            "line 1: models.m: nothing is known of the model (expected bundle, reference, or task and classes)",
        ),
        (
            "models: {m: {task: regression, classes: [a, b]}}",
            "line 1: models.m.classes: a regression model has no classes",
        ),
        ("models: {m: {classes: [a]}}", "line 1: models.m.classes: a classification model needs class names (1)"),
        ("models: {m: {bundle: b, segments: [a, a]}}", "line 1: models.m.segments: a is given twice"),
        (
            "models: {m: {bundle: b, segments: {region: [eu, eu]}}}",
            "line 1: models.m.segments: region: not the values of a segment "
            "(expected each value once, and none called (other) or (missing), got eu, eu)",
        ),
        (
            "models: {m: {bundle: b, segments: {region: ['(other)']}}}",
            "line 1: models.m.segments: region: not the values of a segment "
            "(expected each value once, and none called (other) or (missing), got (other))",
        ),
        (
            "models: {m: {bundle: b, segments: region}}",
            "line 1: models.m.segments: not a list of segments "
            "(expected names, or names with lists of their values, got 'region')",
        ),
        (
            'models: {m: {bundle: b, segments: ["a\\nb"]}}',
            "line 1: models.m.segments: not a name (expected 1 to 200 printable characters, got 'a\\nb')",
        ),
        ("models: {m: {bundle: b, windows: [1h, 60m]}}", "line 1: models.m.windows.1: given twice"),
        ("models: {m: {bundle: b, panes: 0s}}", "line 1: models.m.panes: must be longer than 0 s (got 0s)"),
        (
            "models: {m: {bundle: b, panes: 99999999d}}",
            "line 1: models.m.panes: too long (expected at most 100 years, got 99999999d)",
        ),
        (
            "models: {m: {bundle: b, false_alarms: often}}",
            "line 1: models.m.false_alarms: not a false-alarm budget (expected a number, per, a duration:"
            " 1 per 90d, got often)",
        ),
        (
            "models: {m: {bundle: b, labels: {final_at_coverage: 95}}}",
            "line 1: models.m.labels.final_at_coverage: expected less than or equal to 1, got 95",
        ),
        (
            "models: {m: {bundle: b, columns: {timezone: Berlin}}}",
            "line 1: models.m.columns.timezone: not a time zone (expected an IANA name such as Europe/Berlin,"
            " got 'Berlin')",
        ),
        (
            "models: {m: {task: regression, checks: {accuracy: {warning: '-5%'}}}}",
            "line 1: models.m.checks.accuracy: a regression model has no accuracy",
        ),
        (
            "models: {m: {bundle: b, checks: {accuracy: }}}\nhttp: {lisen: 1}",
            "line 2: http.lisen: unknown key (did you mean 'listen'?)",
        ),
        (
            "models: {m: {bundle: b, checks: {accuracy: {}}}}",
            "line 1: models.m.checks.accuracy: a check needs a threshold (expected warning, critical or both)",
        ),
        (
            "models: {m: {bundle: b}}\nlog: {retention: 20d}",
            "line 2: log.retention: too short for model m: a late label could not be joined, nor its window made again"
            " (expected label horizon + longest window = 21d or more, got 20d)",
        ),
        (
            "models: {m: {bundle: b}}\nhttp: {listen: 0.0.0.0:80}",
            "line 2: http.listen: other machines may connect and no tokens are asked for (expected http.tokens_file, or"
            " an address of this machine only such as 127.0.0.1:9464, got '0.0.0.0:80')",
        ),
        (
            "models: {m: {bundle: b}}\nhttp: {listen: 'here'}",
            "line 2: http.listen: not an address (expected host:port such as 127.0.0.1:9464, got 'here')",
        ),
        (
            "models: {m: {bundle: b}}\nstate: {url: 'postgresql://u:${PASSWORD}@h/d'}",
            "line 2: state.url: the environment variable PASSWORD is not set",
        ),
        (
            "models: {m: !!python/object/apply:os.system [id]}",
            "line 1: models.m: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed here",
        ),
        (
            "models: {m: {bundle: b, labels: {sql: {url: 'x://${NOBODY}', query: ':cursor', cursor: c}}}}",
            "line 1: models.m.labels.sql.url: the environment variable NOBODY is not set",
        ),
        (
            "models: {m: {bundle: b, labels: {sql: {url: 'x://y', query: 'select a::cursor', cursor: c}}}}",
            "line 1: models.m.labels.sql.query: the query does not use its cursor (expected … where c > :cursor)",
        ),
        (
            "models: {m: {bundle: b, labels: {sql: {url: shop, query: ':cursor', cursor: c, start: soon}}}}",
            "line 1: models.m.labels.sql.start: expected a number or an ISO 8601 time, got 'soon'",
        ),
        ("models: {m: {bundle: !secret b}}", "line 1: models.m.bundle: the tag '!secret' is not allowed here"),
        (
            'models: {m: {bundle: "\\ud83d"}}',
            "line 1: models.m.bundle: half of a character (a lone surrogate) is not text",
        ),
        ('models: {"\\ud83d": {bundle: b}}', "line 1: models: a key must be a name"),
        ("a: [", "line 1: not YAML: expected the node content, but found '<stream end>'"),
        ("? [a]\n: b", "line 1: a key must be a name"),
    ],
)
def test_each_fault_names_its_line_and_what_was_expected(tmp_path: Path, text: str, expected: str) -> None:
    assert expected in faults(tmp_path, text)


def test_a_listen_address_without_a_host_is_every_address(tmp_path: Path) -> None:
    assert "other machines may connect" in faults(tmp_path, "models: {m: {bundle: b}}\nhttp: {listen: ':80'}")[0]
    for address in ("localhost:1", "[::1]:1", "127.0.0.2:0"):
        load(tmp_path, f"models: {{m: {{bundle: b}}}}\nhttp: {{listen: '{address}'}}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"no\.yaml: the configuration cannot be read \(got No such file"):
        load_config(tmp_path / "no.yaml", {})


def test_aliases_are_counted_as_often_as_they_are_used(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9))
    [fault] = faults(tmp_path, bomb)
    assert "too many values, aliases counted in full (at most 20000)" in fault
    [fault] = faults(tmp_path, "a: &a [*a]")
    assert "nested too deeply (at most 32 levels)" in fault
    assert "too large (expected at most 1048576 bytes" in faults(tmp_path, "#" * 1_048_577)[0]
    assert "not YAML" in faults(tmp_path, "[" * 20_000)[0]


def test_models_may_share_settings_by_merging(tmp_path: Path) -> None:
    text = "models:\n  a: &a {bundle: x, panes: 1m, windows: [1h]}\n  b: {<<: *a, bundle: y}\n"
    a, b = load(tmp_path, text).models
    assert (b.bundle, b.windows) == (tmp_path / "y", a.windows)


def test_words_that_old_yaml_takes_for_booleans_stay_words(tmp_path: Path) -> None:
    settings = model(tmp_path, "classes: [yes, no, on, 0, 7]\nseason: off\nretrain: {on: [accuracy]}")
    assert settings.classes == ("yes", "no", "on", "0", "7")
    assert settings.observations.season_seconds is None
    assert settings.retrain is not None


def test_column_roles_are_turned_to_look_up_a_column(tmp_path: Path) -> None:
    text = "bundle: b\ncolumns: {map: {id: request_id}, exclude: [ssn], timezone: Europe/Berlin, epoch: ms}"
    settings = model(tmp_path, text)
    assert settings.column_map == {"request_id": "id"}
    assert settings.excluded_columns == ("ssn",)
    assert (settings.timezone, settings.epoch_unit) == ("Europe/Berlin", "ms")


def test_secrets_come_from_the_environment_and_are_not_shown(tmp_path: Path) -> None:
    text = "models: {m: {bundle: b}}\nstate: {url: 'postgresql://u:${PASSWORD}@h/d'}"
    settings = load(tmp_path, text, PASSWORD="hunter2")
    assert settings.state_url == "postgresql://u:hunter2@h/d"
    assert "hunter2" not in show(settings)
    assert "postgresql://u:***@h/d" in show(settings)
    labels = "labels: {sql: {url: 'postgresql://u:${PASSWORD}@h/d', query: ':cursor', cursor: c, start: 2026-01-01}}"
    settings = load(tmp_path, f"models: {{m: {{bundle: b, {labels}}}}}", PASSWORD="hunter2")
    assert settings.models[0].sql_labels == SqlLabels("postgresql://u:hunter2@h/d", ":cursor", "c", start="2026-01-01")
    assert "hunter2" not in show(settings)


def test_spools_are_one_folder_or_several(tmp_path: Path) -> None:
    settings = load(tmp_path, "models: {m: {bundle: b}}\nspool: [a, /b]\nown_spool: c")
    assert settings.spools == (tmp_path / "a", Path("/b"), tmp_path / "c")
    assert load(tmp_path, "models: {m: {bundle: b}}\nspool: a").own_spool == tmp_path / "a"


def test_object_stores_are_left_as_they_are(tmp_path: Path) -> None:
    assert load(tmp_path, "models: {m: {bundle: b}}\nlog: {url: s3://bucket/x}").log_url == "s3://bucket/x"


@pytest.mark.parametrize(
    "text",
    [
        DESIGN,
        "models: {m: {bundle: b}}",
        "models: {m: {bundle: b, labels: {sql: {url: 'sqlite:///x.db', query: 'a :cursor', cursor: c, start: 7}}}}",
        "models: {m: {bundle: b, segments: {region: [us, eu], store: null}}, n: {bundle: b, segments: [region]}}",
        "models: {m: {task: regression, season: off, columns: {map: {id: x}, exclude: [y]}}, n: {classes: [1, 2]}}",
        "models: {m: {reference: r, season: {length: 1d, observe: 1h, match: phase}, checks: {}}}\nspool: [a, b]",
    ],
)
def test_what_is_shown_loads_to_the_same_settings(tmp_path: Path, text: str) -> None:
    settings = load(tmp_path, text)
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert load(other, show(settings)) == settings


def test_the_published_schema_names_every_key_and_refuses_others() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["required"] == ["models"]
    assert set(schema["properties"]) >= {"log", "state", "spool", "http", "ingest", "evaluate", "models"}
    assert schema["additionalProperties"] is False
    assert all(section["additionalProperties"] is False for section in schema["$defs"].values())
    assert schema["$defs"]["ModelSection"]["properties"]["panes"]["type"] == "string"


KEYS = st.sampled_from(
    ["log", "http", "models", "m", "bundle", "windows", "checks", "drift", "psi", "season", "labels", "on"]
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["1h", "+5%", "off"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_any_values_load_or_are_refused_by_our_own_errors(
    tmp_path_factory: pytest.TempPathFactory, values: object
) -> None:
    check_survives(tmp_path_factory, json.dumps(values).encode())


@given(st.binary(max_size=300) | st.text(alphabet="&*<>!%|-?:[]{},\"'#\n ab1", max_size=60).map(str.encode))
def test_any_bytes_load_or_are_refused_by_our_own_errors(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    check_survives(tmp_path_factory, content)


def check_survives(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    try:
        load_config(path, {})
    except TrueupError as error:
        assert str(path) in str(error)


def test_a_budget_of_an_alarm_at_every_observation_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trueup.yaml"
    # Its two checks together would do with 1 per 1d, one of them without the other would not.
    path.write_text("models:\n  m:\n    task: regression\n    false_alarms: 1 per 1d\n")
    with pytest.raises(OperatorError, match="the false-alarm budget allows an alarm at every observation"):
        load_config(path)


def test_a_design_effect_below_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trueup.yaml"
    path.write_text("models:\n  m:\n    task: regression\n    season: {design_effect: 0.5}\n")
    with pytest.raises(OperatorError, match="a design effect is at least 1"):
        load_config(path)


def test_how_patient_alarms_are_is_read(tmp_path: Path) -> None:
    path = tmp_path / "trueup.yaml"
    path.write_text("models:\n  m:\n    task: regression\n    alarms: {holdoff: 1h, keep_firing: 0s}\n")
    found = load_config(path).models[0].alarms
    assert (found.holdoff_seconds, found.keep_firing_seconds, found.show_resolved_seconds) == (3_600, 0, 3_600)


def test_segments_are_names_or_names_with_their_values(tmp_path: Path) -> None:
    path = tmp_path / "trueup.yaml"
    path.write_text("models: {m: {bundle: b, segments: {region: [us, eu], store: [7], device: null}}}")
    [model] = load_config(path).models
    assert model.segments == ("region", "store", "device")
    assert model.segment_values == {"region": ("eu", "us"), "store": ("7",)}
