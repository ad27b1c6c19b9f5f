"""Build the tables of the command line: datasets, models, weight files, benchmarks."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.table import Table

from converters.core.progress import progress
from converters.recipes.catalog import mask_noun, shipped_recipes
from weights import resolve

if TYPE_CHECKING:  # imports torch, which the table of datasets does not need
    from detect.benchmarking.results import Summary


def datasets_table() -> Table:
    """List every recipe with its classes and licence."""
    table = Table(
        box=SIMPLE_HEAD,
        caption="Organs in brackets: with --targets organs. `detect datasets NAME` says more.",
    )
    table.caption_justify = "left"
    for column in ("name", "title", "modality", "classes", "masks", "licence"):
        table.add_column(column, overflow="fold")
    for recipe in shipped_recipes():
        table.add_row(
            recipe.name,
            recipe.title,
            recipe.representation.modality,
            ", ".join(recipe.classes) or f"[{len(recipe.organs)} organs]",
            mask_noun(recipe),
            recipe.licence,
        )
    return table


def models_table(classes: int) -> Table:
    """List every model with its family and its parameters, counted on the built network.

    Args:
        classes: number of lesion classes, which changes the heads.
    """
    from detect.detectors.registry import count_parameters, list_models

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
    models = list_models()
    with _one_thread(), progress("count", len(models)) as advance:
        for model in models:
            counts = count_parameters(model.name, classes)
            table.add_row(
                *model,
                f"{counts.fused / 1e6:.3f}",
                f"{counts.unfused / 1e6:.3f}",
                _at_hand(model.name),
            )
            advance(model.name)
    return table


def summaries_table(summaries: Sequence["Summary"]) -> Table:
    """Show the main columns of `benchmark.md`."""
    from detect.benchmarking.results import write_range

    table = Table(
        box=SIMPLE_HEAD,
        caption="best: at the best F1 on the scored set; frozen: at the confidence from val",
        caption_justify="left",
    )
    table.add_column("model", overflow="fold")
    headers = ("P\nbest", "R\nbest", "P\nfrozen", "R\nfrozen", "mAP50", "95 %", "params\nM")
    for header in (*headers, "ms a\nslice"):
        table.add_column(header, justify="right")
    for summary in summaries:
        if not summary.rows:
            table.add_row(summary.model, "failed" if summary.failed else "waiting")
            continue
        names = ("precision_best", "recall_best", "precision_frozen", "recall_frozen", "map50")
        table.add_row(
            summary.model,
            *(_fixed(summary.mean(name), 3) for name in names),
            write_range(summary.interval("map50")),
            _fixed(summary.mean("parameters") / 1e6, 1),
            _fixed(summary.mean("ms_per_slice"), 1),
        )
    return table


def weights_table() -> Table:
    """List the known weight files, where to fetch them, and which of them are here."""
    from detect.workflows.weights import list_weights

    table = Table(
        box=SIMPLE_HEAD,
        caption=f"Files belong into {resolve.folder()}; `detect weights add FILE` puts them there.",
    )
    table.caption_justify = "left"
    for column in ("file", "model", "licence"):
        table.add_column(column)
    table.add_column("MB", justify="right")
    table.add_column("here")
    table.add_column("fetch from", overflow="fold")
    for listed in list_weights():
        entry = listed.entry
        table.add_row(
            entry.file,
            entry.model or "-",
            entry.licence or "-",
            "?" if listed.bytes is None else f"{listed.bytes / 1e6:.1f}",
            "yes" if listed.here else "no",
            entry.source or "-",
        )
    return table


def _fixed(value: float, digits: int) -> str:
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep torch's other threads asleep: the work is Python's, and they wait at full speed."""
    import torch

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
