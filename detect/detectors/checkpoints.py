"""Read, check, hand over and write the tensors of networks: the same rules for every family."""

import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from converters.core.errors import InputError
from converters.core.files import atomic_file

SAME_ARCHITECTURE = 0.7  # share of tensors that must fit; another class count still leaves 0.9
CHECKPOINTS = (".pt", ".pth", ".ckpt")
State = dict[str, torch.Tensor]
_UNREADABLE = (
    OSError, SafetensorError, UnpicklingError, EOFError, ImportError, TypeError,
    RuntimeError, LookupError, AttributeError, ValueError, AssertionError,
)  # fmt: skip


class ForeignObjects(Exception):
    """A checkpoint holds more than a reader may rebuild without trust."""


def load_checkpoint(path: Path, trust: bool) -> State:
    """Read a checkpoint of plain torch: tensors only, unless trusted.

    The tensors may lie at the top, or under ``ema`` (``module``), ``model`` or ``state_dict``.

    Raises:
        ForeignObjects: without `trust`, where there is more than tensors and plain values.
    """
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=not trust)
    except UnpicklingError as error:
        if "Unsupported" in str(error) or "weights_only" in str(error):
            raise ForeignObjects from error
        raise
    for key in ("ema", "module", "model", "state_dict"):
        inner = content.get(key)
        if isinstance(inner, torch.nn.Module):
            inner = inner.state_dict()
        if isinstance(inner, dict) and inner:
            content = inner
    return {str(k): v for k, v in content.items() if isinstance(v, torch.Tensor)}


def read_state(
    path: Path, trust: bool, load: Callable[[Path, bool], State] = load_checkpoint
) -> State:
    """Read the tensors of a weight file.

    Args:
        path: `.safetensors`, or a checkpoint that torch wrote.
        trust: unpickle the checkpoint in full, which can run code of its author.
        load: reads the family's own kind of checkpoint; raises `ForeignObjects`.

    Raises:
        InputError: unreadable, or not to be trusted.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        if path.suffix not in CHECKPOINTS:
            raise InputError(path, "is neither .safetensors nor .pt", "give a weight file")
        if not _is_checkpoint(path):
            raise InputError(path, "is empty, cut short or no checkpoint", "fetch it again")
        with warnings.catch_warnings(
            action="ignore"
        ):  # torch warns of pickles that it then refuses
            return load(path, trust)
    except InputError:
        raise
    except ForeignObjects as error:
        raise InputError(
            path,
            "holds Python objects besides network weights, which could run code when loaded",
            "get it from a source you trust and add --trust",
        ) from error
    except _UNREADABLE as error:
        raise InputError(path, "cannot be read as network weights", "fetch it again") from error


def _is_checkpoint(path: Path) -> bool:
    """Recognise a whole zip archive, as torch writes, or the first byte of an old pickle."""
    with path.open("rb") as file:
        return zipfile.is_zipfile(file) or (file.seek(0) == 0 and file.read(1) == b"\x80")


def transfer(network: torch.nn.Module, state: State, path: Path) -> None:
    """Copy every tensor that fits by name and shape.

    Raises:
        InputError: too few fit: the weights are of another architecture.
    """
    wanted = network.state_dict()
    fitting = {k: v for k, v in state.items() if k in wanted and wanted[k].shape == v.shape}
    if len(fitting) < SAME_ARCHITECTURE * len(wanted):
        raise InputError(
            path,
            f"fits only {len(fitting)} of {len(wanted)} tensors: it is of another architecture",
            "give the weights of the model named with --model",
        )
    network.load_state_dict(fitting, strict=False)


def save_network(network: torch.nn.Module, path: Path) -> None:
    """Write a network's tensors as safetensors, atomically: no path, name or code goes along."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(
            save({k: v.contiguous().cpu() for k, v in network.state_dict().items()})
        )


def load_network(network: torch.nn.Module, path: Path) -> None:
    """Load what `save_network` wrote, all of it.

    Raises:
        InputError: unreadable, or of another network.
    """
    state = read_state(path, trust=False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            path, "does not fit the model that model.json names", "train again"
        ) from error
