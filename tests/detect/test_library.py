"""The package as a library: what `import detect` offers, and that it stays light."""

import subprocess
import sys
from pathlib import Path

import pytest

import detect
from converters.core.errors import InputError, ParameterError
from converters.core.pool import WorkersError
from detect.cli.printing import describe_error

NAMES = [name for name in detect.__all__ if name != "__version__"]


def python(code: str, folder: Path) -> str:
    words = [sys.executable, "-c", code]
    root = str(Path(__file__).parents[2])
    return subprocess.run(
        words, cwd=folder, env={"PYTHONPATH": root}, capture_output=True, text=True, check=True
    ).stdout


def test_the_import_brings_nothing_else(tmp_path: Path) -> None:
    heavy = "{'torch', 'numpy', 'pydantic', 'cv2', 'typer', 'rich', 'converters'}"
    code = f"import sys, detect; dir(detect); print({heavy} & set(sys.modules))"
    assert python(code, tmp_path) == "set()\n"


@pytest.mark.parametrize("name", NAMES)
def test_each_name_comes_when_it_is_used(name: str, tmp_path: Path) -> None:
    assert python(f"from detect import {name}; print({name}.__name__)", tmp_path) == f"{name}\n"
    assert name in dir(detect)


def test_another_name_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        _ = detect.nope


@pytest.mark.parametrize(
    "error, line",
    [
        (ParameterError("min_size_mm", "is no size", "use 0"), "--min-size-mm: is no size. use 0."),
        (
            ParameterError("url, series 1 of 2", "ends", "wait"),
            "--from, series 1 of 2: ends. wait.",
        ),
        (WorkersError("scheduler", "ended", "wait"), "--scheduler: ended. wait."),
        (WorkersError("/data/weights", "differs", "copy"), "/data/weights: differs. copy."),
        (InputError("weights", "is empty", "fetch it"), "weights: is empty. fetch it."),
    ],
)
def test_the_command_line_names_the_option_of_a_parameter(error: InputError, line: str) -> None:
    assert describe_error(error) == line


def test_a_library_error_names_the_parameter(tmp_path: Path) -> None:
    with pytest.raises(ParameterError) as wrong:
        detect.load_model(tmp_path, confidence=2)
    assert wrong.value.path == "confidence" and "--" not in str(wrong.value)


def test_strings_are_paths(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    requests = [
        lambda: detect.convert("lits", nowhere, str(tmp_path / "out")),
        lambda: detect.open_dataset(nowhere),
        lambda: detect.read_volume(nowhere),
        lambda: detect.train("yolov8n", nowhere, out=str(tmp_path / "run")),
        lambda: detect.evaluate(nowhere, nowhere, out=str(tmp_path / "evaluation")),
        lambda: detect.predict(nowhere, [nowhere], out=str(tmp_path / "results")),
        lambda: detect.load_model(nowhere),
    ]
    for request in requests:
        with pytest.raises(detect.InputError) as wrong:
            request()
        assert wrong.value.path.startswith(nowhere)
    assert not list(tmp_path.iterdir())
