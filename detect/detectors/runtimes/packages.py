"""Packages of the extras: imported when needed, and never let out onto the network."""

import os
import sys
from importlib import import_module
from typing import Any

from converters.core.distribution import install_hint
from converters.core.errors import InputError, ParameterError
from converters.core.process_pool import available_cores


def load(name: str, extra: str) -> Any:
    """Import a package of an extra.

    Raises:
        InputError: it is not installed.
    """
    # OpenVINO reports each import to its maker, unless this package of theirs is missing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(name, "is not installed", f"run {install_hint(extra)}") from error


def cpu_only(runtime: str, device: str) -> None:
    """Refuse a GPU.

    Raises:
        InputError: a GPU was asked for.
    """
    if device not in ("auto", "cpu"):
        raise ParameterError(
            "device", f"{runtime} runs on the CPU here, not on `{device}`", "use --runtime torch"
        )


def default_threads() -> int:
    """Return the threads that torch takes: OMP_NUM_THREADS, or one for each core it may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else available_cores()
