"""DEIM's average: the same share of a training, however long it is."""

import math

import pytest
import torch

from detect.families.deim.schedule import PUBLISHED_STEPS, average, stages
from detect.training.loop.plan import Average
from detect.training.loop.training import averaged


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


def test_the_average_follows_by_its_warmed_up_decay_and_resumes() -> None:
    """The first update moves the exact copy, too; tensors of integers are copied."""
    rule = Average(decay=0.9, warmup=2.0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    copy, resumed = averaged(network, rule), averaged(network, rule)
    wanted = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    for step in range(1, 6):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += torch.randn_like(parameter)
        network(torch.randn(4, 3))  # moves the statistics of the batch norm
        decay = 0.9 * (1 - math.exp(-step / 2.0))
        for name, tensor in network.state_dict().items():
            old = wanted[name]
            wanted[name] = old + (1 - decay) * (tensor - old) if old.is_floating_point() else tensor
        if step == 5:
            resumed.load_state_dict(copy.state_dict())
            resumed.update_parameters(network)
        copy.update_parameters(network)
    for average_network in (copy.module, resumed.module):
        assert not average_network.training
        torch.testing.assert_close(dict(average_network.state_dict()), wanted)
