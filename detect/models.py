"""The models a user can name."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from detect.detectors.registry import count_parameters, model_names


def models_table(classes: int) -> Table:
    """List every model with its family and its parameters, counted on the built network.

    Args:
        classes: number of lesion classes, which changes the heads.
    """
    table = Table(box=SIMPLE_HEAD, caption=f"parameters in millions, for {classes} classes")
    table.caption_justify = "left"
    for column in ("model", "family"):
        table.add_column(column)
    for column in ("fused", "unfused"):
        table.add_column(column, justify="right")
    for name, family in model_names().items():
        counts = count_parameters(name, classes)
        table.add_row(name, family, f"{counts.fused / 1e6:.3f}", f"{counts.unfused / 1e6:.3f}")
    return table
