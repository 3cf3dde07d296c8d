"""Losses of single rows and the reference's own quantiles of them."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import log_loss

from monitor.errors import DefectError
from monitor.profiles.codec import decode_reference, encode_reference, load_reference, save_reference
from monitor.profiles.losses import LOSS_QUANTILES, count_above, loss_limits, row_losses
from monitor.profiles.model_profile import build_reference
from monitor.records import ModelSchema

SCHEMA = ModelSchema("m", "classification", ("a", "b", "c"))


def rows(n: int = 400, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(3), n)
    columns = {f"p_{name}": p[:, i] for i, name in enumerate("abc")}
    return pa.table({"prediction": np.array(list("abc"))[p.argmax(1)], "label": rng.choice(list("abc"), n), **columns})


def test_the_mean_of_the_losses_is_the_cross_entropy_of_scikit_learn() -> None:
    table = rows()
    p = np.stack([table.column(f"p_{name}").to_numpy() for name in "abc"], axis=1)
    assert row_losses(SCHEMA, table).mean() == pytest.approx(log_loss(table.column("label"), p, labels=list("abc")))


def test_rows_without_a_known_label_or_a_complete_output_have_no_loss() -> None:
    table = pa.table(
        {
            "prediction": ["a", "a", "a", "a"],
            "label": ["a", "elsewhere", None, "b"],
            "p_a": [0.5, 0.5, 0.5, 0.5],
            "p_b": [0.25, 0.25, 0.25, 0.0],
            "p_c": pa.array([0.25, 0.25, 0.25, None], pa.float64()),
        }
    )
    assert row_losses(SCHEMA, table).tolist() == pytest.approx([np.log(2)])
    assert row_losses(SCHEMA, table.drop_columns(["p_c"])).size == 0


def test_a_certain_miss_costs_a_bounded_loss() -> None:
    table = pa.table({"prediction": ["a"], "label": ["b"], "p_a": [1.0], "p_b": [0.0], "p_c": [0.0]})
    assert row_losses(SCHEMA, table).tolist() == pytest.approx([-np.log(1e-15)])


def test_a_regression_loses_the_square_of_its_error() -> None:
    table = pa.table({"prediction": [1.0, 2.0, float("nan")], "label": [3.0, 2.0, 1.0]})
    assert row_losses(ModelSchema("m", "regression"), table).tolist() == [4.0, 0.0]


def test_limits_are_quantiles_of_the_losses_and_count_what_is_above() -> None:
    losses = np.random.default_rng(3).exponential(1.0, 10_000)
    limits = loss_limits(losses)
    assert limits.quantiles == LOSS_QUANTILES
    assert [above / limits.rows for above in limits.above] == pytest.approx([1 - q for q in LOSS_QUANTILES], abs=2e-4)
    assert limits.above == count_above(losses, limits.limits)


def test_equal_limits_are_kept_once_and_no_losses_are_refused() -> None:
    assert loss_limits(np.array([0.0] * 90 + [1.0] * 10)).limits == (0.0, 1.0)
    with pytest.raises(DefectError, match="a reference without losses has no limits"):
        loss_limits(np.array([np.nan]))


def test_a_reference_keeps_the_limits_of_its_own_labels(tmp_path: Path) -> None:
    table = rows()
    reference = build_reference(SCHEMA, table)
    assert reference.losses == loss_limits(row_losses(SCHEMA, table))
    save_reference(reference, tmp_path / "reference")
    assert load_reference(tmp_path / "reference").losses == reference.losses
    bare = build_reference(SCHEMA, table.drop_columns(["label"]))
    assert bare.losses is None
    assert decode_reference(encode_reference(bare)).losses is None
