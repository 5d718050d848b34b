"""A curve has each step once, survives its bytes, and becomes a table that a person can read."""

import numpy as np
import pytest

from worker.contract.base import Frozen
from worker.contract.errors import CheckpointCorrupt
from worker.contract.score import summarise
from worker.snapshot.arrays import Reader, encode
from worker.snapshot.curve import EVALUATION_KEYS, KEYS, Curve, CurveRow, EvaluationRow
from worker.snapshot.fingerprint import differences


class Nothing(Frozen):
    """A head without content."""


WARM_UP = CurveRow(1000, {"rollout/ep_rew_mean": -200.5, "rollout/ep_len_mean": 90.0})
TRAINED = CurveRow(2000, {**WARM_UP.values, "train/actor_loss": 0.25, "train/learning_rate": 1e-3})
CURVE = (
    Curve()
    .with_row(WARM_UP)
    .with_evaluation(EvaluationRow(1500, (1.0, 2.0), (10, 20)))
    .with_row(TRAINED)
    .with_evaluation(EvaluationRow(2000, (5.0,), (7,)))
)


def test_a_curve_survives_its_bytes() -> None:
    for curve in (CURVE, Curve()):
        reader = Reader(encode(Nothing(), curve.arrays()))
        assert Curve.take(reader) == curve


def test_a_curve_becomes_one_line_a_step_with_empty_cells_where_nothing_was_measured() -> None:
    assert CURVE.to_csv().splitlines() == [
        ",".join(("step", *KEYS, *EVALUATION_KEYS)),
        "1000,-200.5,90.0,,,,,,,",
        "1500,,,,,,,,1.5,15.0",
        "2000,-200.5,90.0,0.001,,0.25,,,5.0,7.0",
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("curve.steps", np.array([2000, 2000])),
        ("curve.values", np.full((2, 7), np.inf)),
        ("evaluation.steps", np.array([2000, 1500])),
        ("evaluation.counts", np.array([3, 0])),
        ("evaluation.counts", np.array([2, 2])),
        ("evaluation.returns", np.array([1.0, np.nan, 2.0])),
    ],
)
def test_a_curve_that_is_out_of_order_is_a_corrupt_checkpoint(name: str, value: np.ndarray) -> None:
    reader = Reader(encode(Nothing(), {**CURVE.arrays(), name: value}))
    with pytest.raises(CheckpointCorrupt):
        Curve.take(reader)


def test_a_summary_tells_mean_spread_landings_and_the_bad_tail() -> None:
    returns = tuple(float(n) for n in range(101))
    summary = summarise(returns, (50,) * 101, solved_at=75.0)
    assert (summary.episodes, summary.mean, summary.percentile_5, summary.mean_length) == (101, 50.0, 5.0, 50.0)
    assert summary.std == pytest.approx(np.std(np.arange(101)))
    assert summary.solved == pytest.approx(26 / 101)
    assert summarise((1.0,), (3,), None).solved is None


def test_machines_are_told_apart_by_what_differs() -> None:
    assert differences({"cpu": "A", "torch": "2"}, {"cpu": "A", "torch": "2"}) == ()
    assert differences({"cpu": "A"}, {"cpu": "B", "torch": "2"}) == ("cpu: A → B", "torch: unknown → 2")


def test_worth_telling_is_every_new_evaluation_and_the_newest_row() -> None:
    curve = Curve(
        tuple(CurveRow(step, {"train/ent_coef": step / 10_000}) for step in (1_000, 2_000, 3_000)),
        (EvaluationRow(2_000, (1.0, 3.0), (10, 20)),),
    )
    assert curve.after(0) == (
        CurveRow(2_000, {"train/ent_coef": 0.2, "eval/mean_reward": 2.0, "eval/mean_ep_length": 15.0}),
        CurveRow(3_000, {"train/ent_coef": 0.3}),
    )
    assert [row.step for row in curve.after(2_000)] == [3_000]
    assert curve.after(3_000) == ()
