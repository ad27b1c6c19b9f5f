"""Settings of a training, and the protocols that set them."""

import pytest

from converters.core.errors import InputError
from detect.detectors.settings import (
    TrainSettings,
    apply_protocol,
    protocol_settings,
    resolve_settings,
)


@pytest.mark.parametrize(
    ("family", "batch", "lr", "weight_decay"),
    [("ultralytics", 32, 0.01, None), ("deim", 8, 8e-4, 1e-4)],
)
def test_the_paper_s_settings(
    family: str, batch: int, lr: float, weight_decay: float | None
) -> None:
    settings = resolve_settings(TrainSettings(), protocol_settings("limt", family))
    assert (settings.batch, settings.lr, settings.weight_decay) == (batch, lr, weight_decay)


def test_what_the_user_gives_goes_before_the_protocol() -> None:
    given = protocol_settings("limt", "deim") | {"batch": 4}
    assert resolve_settings(TrainSettings(), given).batch == 4


@pytest.mark.parametrize(("protocol", "family"), [("lits", "deim"), ("limt", "rfdetr")])
def test_protocols_that_there_are_not(protocol: str, family: str) -> None:
    with pytest.raises(InputError, match="protocol"):
        protocol_settings(protocol, family)


def test_a_protocol_fills_what_was_not_asked_for() -> None:
    asked = resolve_settings(TrainSettings(), {"epochs": 3, "batch": 4})
    settings = apply_protocol(asked, "limt", "deim")
    assert (settings.epochs, settings.batch) == (3, 4)
    assert (settings.lr, settings.weight_decay) == (8e-4, 1e-4)
    assert apply_protocol(TrainSettings(), "limt", "ultralytics").batch == 32
