"""DEIM's average: the same share of a training, however long it is."""

import pytest

from detect.families.deim.schedule import PUBLISHED_STEPS, average, stages


def test_a_training_as_long_as_the_published_one_averages_as_published() -> None:
    assert average(PUBLISHED_STEPS).decay == pytest.approx(0.9999)
    assert average(PUBLISHED_STEPS).warmup == 1000
    assert average(10 * PUBLISHED_STEPS) == average(PUBLISHED_STEPS)


@pytest.mark.parametrize("steps", [150, 1_000, 20_000])
def test_it_reaches_back_over_the_same_share(steps: int) -> None:
    share = 1 / (1 - average(steps).decay) / steps
    assert share == pytest.approx(10_000 / PUBLISHED_STEPS, rel=1e-6)
    assert average(steps).warmup / steps == pytest.approx(1000 / PUBLISHED_STEPS)


def test_a_training_of_few_steps_keeps_the_last_weights() -> None:
    assert average(3).decay == 0.0 and average(3).warmup > 0


def test_the_stages_follow_each_other_in_a_training_of_any_length() -> None:
    for epochs in range(1, 200):
        plan = stages(epochs)
        assert 0 <= plan.dense <= plan.policy <= plan.plain <= plan.end == epochs
    assert (stages(160).dense, stages(160).plain) == (4, 148)
