"""Whatever comes in whatever order: the final windows are those of a plain computation over the surviving truth."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sklearn.metrics import accuracy_score, log_loss

from monitor.engines import local
from monitor.log.ingest import ingest
from monitor.log.maintenance import maintain
from monitor.log.spool import SpoolWriter
from monitor.log.tables import ModelLog
from monitor.verdict import WindowResult
from tests.records_samples import CLASSES, MODEL, labels, predictions
from tests.test_cycle import HOUR, MINUTE, START, Bench, make_bench, value

IDS = [f"id-{place:02d}" for place in range(24)]
SPOOLS = 3
# Twelve predictions an hour.
MOMENTS = {name: START + place * 5 * MINUTE + MINUTE for place, name in enumerate(IDS)}
PLACES = st.lists(st.integers(0, len(IDS) - 1), min_size=1, max_size=12, unique=True)


class CycleMachine(RuleBasedStateMachine):
    """Sends, repeats, delays, contradicts, corrects and drops; restarts and spreads over spools."""

    @initialize(keeps_hashes=st.booleans())
    def start(self, keeps_hashes: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        if keeps_hashes:
            self.patch.setattr(local, "LEAST_ROWS", 1)
        self.root = Path(tempfile.mkdtemp(prefix="trueup-machine-"))
        self.bench: Bench = make_bench(self.root, MODEL)
        # Not ingested yet, by spool; and what has been: rows of predictions and of labels.
        self.waiting: list[list[object]] = [[] for _ in range(SPOOLS)]
        self.predictions: list[dict[str, object]] = []
        self.labels: list[tuple[str, str, int]] = []
        self.now = START + 3 * HOUR
        self.writers = 0

    @rule(places=PLACES, spool=st.integers(0, SPOOLS - 1), seed=st.sampled_from([0, 0, 0, 1]))
    def predict(self, places: list[int], spool: int, seed: int) -> None:
        """Seed 0 is what the model says; another seed contradicts it."""
        names = [IDS[place] for place in places]
        whole = predictions(IDS, events=list(MOMENTS.values()), seed=seed)
        batch = whole.take(places)
        self.predictions += batch.to_pylist()
        assert batch.column("prediction_id").to_pylist() == names
        self.waiting[spool].append(batch)

    @rule(place=st.integers(0, len(IDS) - 1), spool=st.integers(0, SPOOLS - 1), minutes=st.integers(1, 40))
    def predict_again_later(self, place: int, spool: int, minutes: int) -> None:
        """The same id again at another time, perhaps in another pane: the earlier one counts."""
        batch = predictions([IDS[place]], start=MOMENTS[IDS[place]] + minutes * MINUTE, seed=2)
        self.predictions += batch.to_pylist()
        self.waiting[spool].append(batch)

    @rule(
        places=PLACES,
        spool=st.integers(0, SPOOLS - 1),
        label=st.sampled_from(CLASSES),
        hours=st.integers(1, 3),
        with_times=st.booleans(),
    )
    def label(self, places: list[int], spool: int, label: str, hours: int, with_times: bool) -> None:
        """Labels; of one id several, of the same time or another, before or after the prediction."""
        names = [IDS[place] for place in places]
        time = START + 2 * HOUR + hours * MINUTE
        events = [MOMENTS[name] for name in names] if with_times and self._were_answered(names) else None
        self.labels += [(name, label, time) for name in names]
        self.waiting[spool].append(labels(names, [label] * len(names), time=time, events=events))

    @rule(spool=st.integers(0, SPOOLS - 1))
    def repeat_what_waits(self, spool: int) -> None:
        self.waiting[spool] += self.waiting[spool]

    @rule()
    def stray_labels(self) -> None:
        self.waiting[0].append(labels(["nobody"], ["cat"]))

    @rule(spool=st.integers(0, SPOOLS - 1), minutes=st.integers(0, 90))
    def cycle(self, spool: int, minutes: int) -> None:
        """What waits in one spool is ingested and evaluated; the clock goes on."""
        self.now += minutes * MINUTE
        self._ingest([spool])
        self.bench.run(self.now)

    @precondition(lambda self: self.writers)
    @rule()
    def restart(self) -> None:
        self.bench.restart()

    @precondition(lambda self: self.writers)
    @rule()
    def maintain(self) -> None:
        """Small files merge; hashes beside the log go with those that are no more."""
        maintain(ModelLog(str(self.root / "log"), MODEL.model), self.now, minimum_files=2)

    @precondition(lambda self: self.writers)
    @rule()
    def end(self) -> None:
        """Everything comes in, the horizon passes: now the numbers are final, and stay right whatever comes later."""
        self._ingest(range(SPOOLS))
        self.bench.run(self.now)
        self.bench.run(self.now + 40 * HOUR)
        self._check()

    @invariant()
    def nothing_is_counted_twice(self) -> None:
        if not hasattr(self, "bench"):
            return
        for window in self.bench.windows():
            assert window.labels <= window.predictions <= len(IDS)

    def teardown(self) -> None:
        if hasattr(self, "bench"):
            try:
                self._ingest(range(SPOOLS))
                self.bench.run(self.now)
                self.bench.run(self.now + 40 * HOUR)
                self._check()
            finally:
                self.patch.undo()
                self.bench.state.close()
                shutil.rmtree(self.root)

    def _were_answered(self, names: list[str]) -> bool:
        """Whether each was answered at its own time: a producer names the time of the prediction that it knows."""
        answered = {(row["prediction_id"], row["event_time"].timestamp() * 1e6) for row in self.predictions}  # type: ignore[attr-defined]
        return all((name, float(MOMENTS[name])) in answered for name in names)

    def _ingest(self, spools: object) -> None:
        for spool in spools:  # type: ignore[attr-defined]
            if not self.waiting[spool]:
                continue
            self.writers += 1
            writer = SpoolWriter(self.root / f"spool-{spool}", writer=f"w{self.writers:05d}")
            for batch in self.waiting[spool]:
                writer.append(batch)
            writer.close()
            self.waiting[spool] = []
        roots = [self.root / f"spool-{spool}" for spool in range(SPOOLS)]
        done = ingest(roots, str(self.root / "log"), future_limit=lambda _: 2**60, set_aside=lambda *_: None)
        assert done.errors == []
        with self.bench.state.transaction() as state:
            for (model, source), newest in done.newest.items():
                state.note_source(model, source, newest, self.now)

    def _check(self) -> None:
        expected = self._expected()
        latest: dict[int, WindowResult] = {}
        for window in self.bench.windows():
            latest[window.window.start] = window
        # A window that had only what has another place since says that nothing is left.
        counted = dict.fromkeys(latest, 0) | {start: len(rows) for start, rows in expected.items()}
        assert {start: window.predictions for start, window in latest.items()} == counted
        for start, rows in expected.items():
            window, labelled = latest[start], rows.dropna(subset=["label"])
            assert (window.maturity, window.labels) == ("final", len(labelled))
            if not len(labelled):
                continue
            assert value(window, "accuracy") == pytest.approx(
                accuracy_score(labelled["label"], labelled["prediction"]), abs=1e-12
            )
            p = labelled[[f"p_{name}" for name in CLASSES]].to_numpy()
            assert value(window, "cross_entropy") == pytest.approx(
                log_loss(labelled["label"], p, labels=list(CLASSES)), abs=1e-9
            )

    def _expected(self) -> dict[int, pd.DataFrame]:
        """By hour, the surviving predictions with their label: earliest prediction, newest label."""
        if not self.predictions:
            return {}
        rows = pd.DataFrame(self.predictions)
        rows["moment"] = rows["event_time"].astype("int64") // (1 if rows["event_time"].dt.unit == "us" else 1_000)
        rows["rank"] = [self._rank(row) for row in self.predictions]
        rows = rows.sort_values(["moment", "rank"]).drop_duplicates("prediction_id")
        known = pd.DataFrame(self.labels, columns=["prediction_id", "label", "label_time"])
        known["rank"] = [_label_rank(label) for label in known["label"]]
        known = known.sort_values(["label_time", "rank"]).drop_duplicates("prediction_id", keep="last")
        joined = rows.merge(known[["prediction_id", "label"]], on="prediction_id", how="left")
        joined["hour"] = joined["moment"] // HOUR * HOUR
        return {int(hour): group for hour, group in joined.groupby("hour")}

    @staticmethod
    def _rank(row: dict[str, object]) -> bytes:
        """Of contradicting predictions of one moment one wins by a digest of its output, as documented."""
        import hashlib

        output = [row[name] for name in sorted(["prediction", *(f"p_{name}" for name in CLASSES)])]
        return hashlib.blake2b(repr(tuple(output)).encode(), digest_size=16).digest()


def _label_rank(label: str) -> bytes:
    import hashlib

    return hashlib.blake2b(repr((label,)).encode(), digest_size=16).digest()


CycleMachine.TestCase.settings = settings(
    max_examples=12,
    stateful_step_count=18,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
TestWhateverComesTheFinalWindowsAreThoseOfAPlainComputation = CycleMachine.TestCase
