"""Convert, train, evaluate and predict: 2D lesion detection on CT as a library.

Nothing is imported before its name is used.

>>> import detect
>>> detect.list_models()[0]
ListedModel(name='yolov3-tiny', family='ultralytics', licence='AGPL-3.0')
>>> detect.open_dataset("nowhere")  # doctest: +ELLIPSIS
Traceback (most recent call last):
converters.core.errors.InputError: nowhere: is no dataset: it has no dataset.json. make one ...
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converters.conversion.convert import convert
    from converters.core.errors import InputError
    from converters.dataset.folder import open_dataset
    from converters.imaging.read import read_volume
    from detect.detectors.registry import list_models
    from detect.inference.detections import Detections
    from detect.inference.model import load_model
    from detect.workflows.evaluate import evaluate
    from detect.workflows.predict import predict
    from detect.workflows.train import train

    __version__: str

__all__ = [
    "Detections",
    "InputError",
    "__version__",
    "convert",
    "evaluate",
    "list_models",
    "load_model",
    "open_dataset",
    "predict",
    "read_volume",
    "train",
]
_MODULES = {
    "Detections": "detect.inference.detections",
    "InputError": "converters.core.errors",
    "convert": "converters.conversion.convert",
    "evaluate": "detect.workflows.evaluate",
    "list_models": "detect.detectors.registry",
    "load_model": "detect.inference.model",
    "open_dataset": "converters.dataset.folder",
    "predict": "detect.workflows.predict",
    "read_volume": "converters.imaging.read",
    "train": "detect.workflows.train",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name == "__version__":
        from converters.core.distribution import program_version

        return program_version()
    if name not in _MODULES:
        raise AttributeError(f"module 'detect' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
