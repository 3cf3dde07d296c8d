"""`trueup replay --score` and `--suggest`: alarms of the past, drifts that would be found, limits that follow.

What lives here: options, progress, tables, the YAML fragment, JSON, and the file of the picture. What must not:
how anything is scored or drawn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.common import console, print_json, print_table
from monitor.errors import OperatorError

if TYPE_CHECKING:
    from monitor.log.tables import ModelLog
    from monitor.profiles.model_profile import Reference
    from monitor.settings import ModelSettings
    from monitor.tuning.report import Tuning
    from monitor.tuning.scoring import Power

_PROGRESS_SECONDS = 2.0
# All of them are in the JSON.
_SHOWN_ALARMS, _EXPLAINED_ALARMS = 12, 4
_UNITS = {"total variation": "TV"}

_PANEL = "With --score or --suggest"
ScoreFlag = Annotated[
    bool, typer.Option("--score", help="Alarms of the past in 90 days, and how soon drifts put into it are found.")
]
SuggestFlag = Annotated[
    bool,
    typer.Option("--suggest", help="The same, and limits proposed from the past, scored beside those that are set."),
]
Picture = Annotated[Path | None, typer.Option(help="Draw it: a file that ends in .svg.", rich_help_panel=_PANEL)]
ScoredVersion = Annotated[
    str | None, typer.Option("--version", help="By default that of the newest prediction.", rich_help_panel=_PANEL)
]
Drifts = Annotated[
    list[str] | None,
    typer.Option(
        "--drift",
        metavar="KIND[=SIZE,…]",
        help="Only these drifts, such as mean_shift=0.25,0.5; all by default.",
        rich_help_panel=_PANEL,
    ),
]
Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Columns that drifts go into, one in each trial.", rich_help_panel=_PANEL),
]
TrialsOption = Annotated[
    int, typer.Option("--trials", min=1, max=1_000, help="How often each drift is tried.", rich_help_panel=_PANEL)
]
Horizon = Annotated[
    int | None,
    typer.Option(min=1, help="Observations in which a drift may be found; 14 of a day.", rich_help_panel=_PANEL),
]
Rows = Annotated[
    int,
    typer.Option(min=200, help="Rows of an observation; a sample where there are more.", rich_help_panel=_PANEL),
]
Resample = Annotated[
    bool,
    typer.Option("--resample", help="Draw a quarter from the rows of a past that is short.", rich_help_panel=_PANEL),
]
Seed = Annotated[int, typer.Option(min=0, help="The same seed gives the same trials.", rich_help_panel=_PANEL)]


@dataclass(frozen=True)
class ScoreOptions:
    """What was asked for."""

    suggest: bool
    picture: Path | None = None
    version: str | None = None
    drifts: Sequence[str] = ()
    columns: Sequence[str] = ()
    trials: int = 10
    horizon: int | None = None
    rows: int = 5_000
    resample: bool = False
    seed: int = 0
    span: tuple[int | None, int | None] = (None, None)


def score_past(settings: ModelSettings, log: ModelLog, options: ScoreOptions, *, as_json: bool) -> None:
    """Score the checks of a model on its log, and print what came of it."""
    if options.picture is not None and options.picture.suffix != ".svg":
        raise OperatorError(
            "a picture is an SVG file", where="--picture", expected="FILE.svg", got=str(options.picture)
        )
    if log.schema("labels") is not None and log.schema("matched") is None:
        raise OperatorError(
            "labels are not joined with predictions yet", where=f"model {log.model}", hint="trueup evaluate does it."
        )
    tuning = _tuned(settings, log, options, quiet=as_json)
    if options.picture is not None:
        from monitor.tuning.picture import draw

        options.picture.write_text(draw(tuning), encoding="utf-8")
    if as_json:
        from monitor.config.show import show_checks
        from monitor.tuning.report import tuning_record

        record = tuning_record(tuning)
        if tuning.proposed is not None:
            record["configuration"] = show_checks(tuning.proposed.checks)
        print_json(record)
        return
    _print(tuning)
    if options.picture is not None:
        console().print(f"picture: {options.picture}")


def _tuned(settings: ModelSettings, log: ModelLog, options: ScoreOptions, *, quiet: bool) -> Tuning:
    import numpy as np

    from monitor.pipeline import model_schema
    from monitor.references import ReferenceStore
    from monitor.tuning.past_log import read_past, versions_in
    from monitor.tuning.report import stream_length, tune
    from monitor.tuning.scoring import Trials, default_horizon, trial_count

    references = ReferenceStore(settings)
    references.refresh()
    version = _version(versions_in(log), options.version, settings.name)
    reference = references.get(version)
    schema = model_schema(settings, references)
    if reference is None or schema is None:
        problems = "; ".join(references.problems.values()) or "none"
        raise OperatorError(
            "a version is scored against its reference",
            where=f"model {settings.name}, version {version}",
            expected="a bundle or a reference of that version",
            got=problems,
        )
    sizes = _sizes(options.drifts)
    trials = Trials(
        trials=options.trials,
        horizon=options.horizon or default_horizon(settings.observations),
        columns=_log_columns(options.columns, reference),
        seed=options.seed,
        **({"sizes": sizes} if sizes else {}),
    )
    with _progress(shown=not quiet) as progress:
        random = np.random.default_rng([options.seed, 0])
        advance = progress("reading the log", None)
        past = read_past(log, settings, schema, version, random, rows=options.rows, span=options.span, advance=advance)
        steps = stream_length(past, trials, resample=options.resample) + trial_count(trials)
        return tune(
            past,
            settings,
            reference,
            trials,
            suggest=options.suggest,
            resample=options.resample,
            advance=progress("past and drifts", steps),
        )


def _version(known: Sequence[str], wanted: str | None, model: str) -> str:
    if not known:
        raise OperatorError("the log has no prediction", where=f"model {model}")
    if wanted is None:
        return known[-1]
    if wanted not in known:
        raise OperatorError("the log has no such version", where="--version", expected=", ".join(known), got=wanted)
    return wanted


def _sizes(written: Sequence[str]) -> dict[Any, tuple[float, ...]]:
    """Sizes by kind, of `kind` or `kind=size,size`."""
    from monitor.tuning.injection import SIZES, Injection, Kind

    sizes: dict[Any, tuple[float, ...]] = {}
    for text in written:
        name, _, numbers = text.partition("=")
        if name not in set(Kind):
            raise OperatorError("not a kind of drift", where="--drift", expected=", ".join(Kind), got=name)
        kind = Kind(name)
        try:
            own = tuple(float(number) for number in numbers.split(",")) if numbers else SIZES[kind]
        except ValueError:
            raise OperatorError("not sizes", where="--drift", expected=f"{name}=0.1,0.5", got=text) from None
        for size in own:
            Injection(kind, size, 0)
        sizes[kind] = tuple(sorted(own))
    return sizes


def _log_columns(wanted: Sequence[str], reference: Reference) -> tuple[str, ...]:
    from monitor.records import column_label

    known = {column_label(spec.name): spec.name for spec in reference.columns if spec.source == "column"}
    for name in wanted:
        if name not in known:
            raise OperatorError("no such column", where="--column", expected=", ".join(sorted(known)), got=name)
    return tuple(known[name] for name in wanted)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[str, int | None], Callable[[], None]]]:
    """Bars on standard error, from two seconds on."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console(error=True), transient=True)
    started, running = time.monotonic(), False

    def begin(name: str, total: int | None) -> Callable[[], None]:
        task = bar.add_task(name, total=total)

        def advance() -> None:
            nonlocal running
            bar.advance(task)
            if shown and not running and time.monotonic() - started > _PROGRESS_SECONDS:
                running = True
                bar.start()

        return advance

    try:
        yield begin
    finally:
        bar.stop()


def _print(tuning: Tuning) -> None:
    from monitor.alarms.plan import assumption
    from monitor.config.show import show_checks
    from monitor.windows import format_duration

    past, settings = tuning.past, tuning.setups[0].settings
    rows = f"{past.rows_per_observation:,.0f} rows each"
    rows += ", a random sample: with all rows drifts are found sooner" if past.sampled else ""
    origin = "drawn from the rows of the past" if past.drawn_anew else f"{_day(past.first)} to {_day(past.last)}"
    length = format_duration(past.settings.length_seconds)
    say = console().print
    say(f"{tuning.model}, version {past.version}: {len(past.observations)} observations of {length}, {origin}; {rows}.")
    say(f"At most {settings.false_alarms} is allowed. {assumption(settings)}")
    for check, why in tuning.setups[0].plan.unwatched.items():
        say(f"{check} is not scored: {why}.")
    _print_quiet(tuning)
    if tuning.proposals:
        _print_proposals(tuning)
    _print_power(tuning)
    if tuning.proposed is not None:
        say("The proposed limits, for the configuration of the model:\n")
        say(show_checks(tuning.proposed.checks))


def _print_quiet(tuning: Tuning) -> None:
    for setup in tuning.setups:
        quiet = tuning.quiet(setup.name)
        title = f"alarms of the past, checks {setup.name}: {quiet.per_quarter:.3g} in 90 days"
        if not quiet.alarms:
            console().print(f"{title}.")
            continue
        lines = [
            (_short(alarm.check), _time(alarm.fired_at), _time(alarm.resolved_at), ", ".join(alarm.columns))
            for alarm in quiet.alarms
        ]
        if len(lines) > _SHOWN_ALARMS:
            title = f"{title}; the newest {_SHOWN_ALARMS} of {len(lines)}"
        print_table(title, ("check", "fired", "resolved", "columns"), lines[-_SHOWN_ALARMS:])
    for alarm in tuning.quiet(tuning.setups[0].name).alarms[-_EXPLAINED_ALARMS:]:
        text = alarm.text or "over again with the next window."
        console().print(f"{_short(alarm.check)}, {_time(alarm.fired_at)}: {text}")


def _print_proposals(tuning: Tuning) -> None:
    from monitor.config.thresholds import threshold_text
    from monitor.tuning.report import PRESENT, PROPOSED, verdict_counts

    def limits(check: Any) -> str | None:
        return check and " / ".join(
            threshold_text(item) for item in (check.warning, check.critical) if item is not None
        )

    def windows(setup: str, check: str) -> str:
        counts = verdict_counts(tuning.quiet(setup), check)
        return f"{counts.get('warning', 0)} / {counts.get('critical', 0)} of {sum(counts.values())}"

    lines = []
    for item in tuning.proposals:
        rest = "nothing to go by"
        if item.past is not None:
            share = "no window" if item.coverage == 1.0 else f"{1 - (item.coverage or 0):.0%} of windows"
            rest = f"{share} of {item.windows} exceeded {item.past:.3g}"
        if item.chance is not None:
            rest += f"; by chance 1% exceed {item.chance:.3g}"
        if item.largest is not None and item.largest != item.past:
            rest += f"; the largest of all was {item.largest:.3g}"
        if item.left_out:
            taken = "taken too: they are most of the past" if item.all_taken else "left out"
            rest += f"; {item.left_out} in alarms {taken}"
        lines.append(
            (
                _short(item.check),
                limits(item.present),
                limits(item.proposed),
                windows(PRESENT, item.check),
                windows(PROPOSED, item.check),
                rest,
            )
        )
    columns = ("check", "as set", "proposed", "windows past as set", "past proposed")
    print_table(
        "limits, and windows of the past beyond them: warning / critical", columns, [line[:-1] for line in lines]
    )
    for line in lines:
        console().print(f"{line[0]}: {line[-1]}.")


def _print_power(tuning: Tuning) -> None:
    from monitor.tuning.injection import UNITS
    from monitor.tuning.report import HARMLESS

    found: dict[tuple[Any, float], dict[str, list[Power]]] = {}
    for power in tuning.score.power:
        found.setdefault((power.kind, power.size), {}).setdefault(power.setup, []).append(power)
    names = [setup.name for setup in tuning.setups]
    lines = []
    for (kind, size), by_setup in found.items():
        harmless = " (no harm)" if kind in HARMLESS else ""
        line: list[Any] = [f"{kind}{harmless} {size:g} {_UNITS.get(UNITS[kind], UNITS[kind])}"]
        line += [_found(by_setup[name][0], tuning) for name in names]
        last = by_setup[names[-1]]
        line.append(None if last[0].named is None or not last[0].found else f"{last[0].named} of {last[0].found}")
        line.append(", ".join(_short(power.check) for power in last[1:] if power.check is not None and power.found))
        lines.append(line)
    columns = ["drift", *([f"found, {name}" for name in names] if len(names) > 1 else ["found"]), "named", "by"]
    trials = tuning.trials
    if lines:
        title = (
            f"drifts put into the past: {trials.trials} trials each, within {trials.horizon} observations; median delay"
        )
        print_table(title, columns, lines)
        if any(power.cut_short for power in tuning.score.power):
            console().print("Cut: trials in which the check fired without the drift before it had found it.")
    for why in dict.fromkeys(tuning.score.not_tried.values()):
        kinds = ", ".join(kind for kind, reason in tuning.score.not_tried.items() if reason == why)
        console().print(f"Not tried: {kinds} ({why}).")


def _found(power: Power, tuning: Tuning) -> str:
    """Such as `8/10 in 2d, 1 cut`."""
    from monitor.windows import format_duration

    delay = power.median_delay
    when = "" if delay is None else f" in {format_duration(delay * tuning.past.settings.length_seconds)}"
    return f"{power.found}/{power.trials}{when}" + (f", {power.cut_short} cut" if power.cut_short else "")


def _short(metric: str) -> str:
    """As the configuration calls it."""
    from monitor.config.thresholds import DRIFT_METRICS

    return next((name for name, known in DRIFT_METRICS.items() if known == metric), metric)


def _time(moment: int | None) -> str:
    from monitor.window_codec import iso

    return "until the end" if moment is None else iso(moment)[:16].replace("T", " ")


def _day(moment: int) -> str:
    return _time(moment)[:10]
