"""The models a user can name."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from rich.box import SIMPLE_HEAD
from rich.table import Table

from converters.core.progress import progress
from detect.detectors.registry import FAMILIES, count_parameters, model_names
from weights import resolve


def models_table(classes: int) -> Table:
    """List every model with its family and its parameters, counted on the built network.

    Args:
        classes: number of lesion classes, which changes the heads.
    """
    table = Table(
        box=SIMPLE_HEAD,
        caption=f"Parameters in millions for {classes} classes: unfused in training, fused after."
        "\nWeights: whether the registered ones are here; `detect weights list` says more.",
    )
    table.caption_justify = "left"
    for column in ("model", "family", "licence"):
        table.add_column(column)
    for column in ("fused", "unfused"):
        table.add_column(column, justify="right")
    table.add_column("weights")
    names = model_names()
    with _one_thread(), progress("count", len(names)) as advance:
        for name, family in names.items():
            counts = count_parameters(name, classes)
            table.add_row(
                name,
                family,
                FAMILIES[family].licence,
                f"{counts.fused / 1e6:.3f}",
                f"{counts.unfused / 1e6:.3f}",
                _at_hand(name),
            )
            advance(name)
    return table


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's other threads asleep: the work is Python's, and they wait at full speed."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _at_hand(model: str) -> str:
    known = resolve.for_model(model)
    if known is None:
        return "none registered"
    return "yes" if (resolve.folder() / known.file).is_file() else "no"
