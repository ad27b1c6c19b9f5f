"""ONNX: write a network with torch's exporter, run it with ONNX Runtime."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from detect.detectors.runtimes.packages import cpu_only, load

if TYPE_CHECKING:
    import torch

OPSET = 17  # the newest that torch's tracing exporter writes without a conversion, bar none
INPUT = "images"


def to_onnx(network: torch.nn.Module, side: int, outputs: Sequence[str]) -> bytes:
    """Trace a network into one self-contained file for batches of any size.

    Args:
        network: in evaluation mode, on the CPU: ``(n, 3, side, side)`` → a tuple of tensors.
        side: of the input, px.
        outputs: names.

    Raises:
        InputError: the package is missing.
    """
    import torch  # which running an export needs not

    load("onnx", "onnx")
    example = torch.zeros(2, 3, side, side)  # one picture would let the tracer fix the batch
    file = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), torch.no_grad():
        torch.onnx.export(
            network,
            (example,),
            file,  # type: ignore[arg-type]  # the tracing exporter takes one
            input_names=[INPUT],
            output_names=list(outputs),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *outputs)},
            opset_version=OPSET,
            dynamo=False,  # `torch.export` fails on the stem of D-FINE's backbone
        )
    return file.getvalue()


class OnnxRuntime:
    """ONNX Runtime on the CPU; see `Runtime`."""

    def __init__(
        self, path: Path, content: bytes, outputs: Sequence[str], device: str, threads: int
    ) -> None:
        """Load a model.

        Args:
            path: for messages.
            content: of the file.
            outputs: names to ask for.
            device: `auto` or `cpu`.
            threads: to run in.

        Raises:
            InputError: a missing package, or no model, or one that reads other files.
        """
        cpu_only("onnx", device)
        ort = load("onnxruntime", "onnx")
        ort.disable_telemetry_events()
        ort.set_default_logger_severity(3)
        check_self_contained(path, content)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        self.outputs = list(outputs)
        try:
            self.session = ort.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise InputError(path, "is no model that ONNX Runtime runs", "export again") from error

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the raw outputs."""
        return list(self.session.run(self.outputs, {INPUT: batch}))


def check_self_contained(path: Path, content: bytes) -> None:
    """Refuse a model whose tensors lie in other files: they could be any file of this machine.

    Raises:
        InputError: it names another file, or is no ONNX.
    """
    onnx = load("onnx", "onnx")
    try:
        model = onnx.ModelProto.FromString(content)
    except Exception as error:
        raise InputError(path, "is no ONNX model", "export again") from error
    if any(field.DESCRIPTOR.name == "TensorProto" and field.external_data
           for field in _messages(model)):  # fmt: skip
        raise InputError(path, "reads its weights from other files", "do not use this model")


def _messages(message: Any) -> Iterator[Any]:
    """Walk all messages inside one, however deep: tensors lie in graphs, attributes, functions."""
    waiting = [message]
    while waiting:
        current = waiting.pop()
        yield current
        for field, value in current.ListFields():
            if field.message_type is not None:
                waiting += list(value) if field.is_repeated else [value]
