"""OpenVINO: convert an ONNX model to its files, quantise it to INT8, run it."""

import io
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.core.errors import InputError
from detect.detectors.runtimes.packages import cpu_only, load


def to_openvino(
    onnx: bytes, calibration: Sequence[NDArray[np.float32]] = ()
) -> tuple[bytes, bytes]:
    """Convert an ONNX model.

    Args:
        onnx: the model.
        calibration: inputs ``(1, 3, side, side)``; with any, the model is quantised to INT8 by
            the ranges that its activations take on them.

    Returns:
        The XML of the graph and the weights.

    Raises:
        InputError: a package is missing.
    """
    ov = load("openvino", "openvino")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "model.xml"
        source.write_bytes(onnx)
        model = ov.Core().read_model(source)
        if calibration:
            model = _quantise(model, calibration)
        # by default it would halve the precision of the weights
        ov.save_model(model, target, compress_to_fp16=False)
        return target.read_bytes(), target.with_suffix(".bin").read_bytes()


def _quantise(model: Any, calibration: Sequence[NDArray[np.float32]]) -> Any:
    nncf = load("nncf", "openvino")
    nncf.set_log_level(40)
    with redirect_stdout(io.StringIO()):  # its progress bars know of no --quiet
        return nncf.quantize(
            model,
            nncf.Dataset(calibration),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(calibration),
        )


class OpenVinoRuntime:
    """OpenVINO on the CPU; see `Runtime`."""

    def __init__(
        self,
        path: Path,
        graph: bytes,
        weights: bytes,
        outputs: Sequence[str],
        device: str,
        threads: int,
    ) -> None:
        """Load a model.

        Args:
            path: for messages.
            graph, weights: content of its files.
            outputs: names to ask for.
            device: `auto` or `cpu`.
            threads: to run in.

        Raises:
            InputError: a missing package, or no model.
        """
        cpu_only("openvino", device)
        ov = load("openvino", "openvino")
        self.outputs = list(outputs)
        # f32: processors with bfloat16 would use that, and find other boxes
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        try:
            core = ov.Core()
            blob = np.frombuffer(weights, np.uint8)
            model = core.read_model(graph, ov.Tensor(blob))
            self.model = core.compile_model(model, "CPU", settings)
        except Exception as error:
            raise InputError(path, "is no model that OpenVINO runs", "export again") from error

    def __call__(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the raw outputs."""
        raw = self.model(batch)
        return [np.array(raw[name]) for name in self.outputs]
