"""`detect datasets`, and that the commands it gives run."""

import shlex
from pathlib import Path

import pytest

from converters.dataset.manifest import read_manifest
from datasets_yaml import recipe_files
from detect.cli.main import main
from tests.helpers import miniatures


def detect(*words: str) -> int:
    with pytest.raises(SystemExit) as left:
        main(words)
    return int(left.value.code or 0)


def test_the_list_names_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert detect("datasets") == 0
    printed = capsys.readouterr().out
    assert all(f" {name} " in printed for name in recipe_files())


@pytest.mark.parametrize("name", ["kits23", "word"])
def test_the_commands_of_a_dataset_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert detect("datasets", name) == 0
    printed = capsys.readouterr().out
    commands = [line.strip() for line in printed.splitlines() if line.startswith("    detect ")]
    miniatures.make(name, tmp_path / name.upper(), (1, 2, 3))
    run = [shlex.split(line)[1:] for line in commands if "train" not in line]
    assert len(run) >= 2
    for words in run:
        workers = ["--workers", "1"] if words[0] == "convert" else []
        assert detect(*words, *workers, "--quiet") == 0, words
    assert read_manifest(Path(f"data/{name}")).class_names[0] == {"kits23": "tumour"}.get(
        name, "liver"
    )


def test_an_unknown_dataset_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert detect("datasets", "flare") == 2
    assert "did you mean flare22" in capsys.readouterr().err


def test_a_recipe_of_ones_own_is_described(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "own.yaml"
    file.write_bytes(recipe_files()["lits"].read_bytes().replace(b"name: lits", b"name: own"))
    assert detect("datasets", str(file)) == 0
    assert f"detect convert {file} --root OWN --out data/own" in capsys.readouterr().out


def test_several_recipes_and_a_root_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    roots = [
        miniatures.make(name, tmp_path / name, (1, 2)) for name in ("lits", "msd-hepatic-vessel")
    ]
    words = ["convert", "lits", "msd-hepatic-vessel", "--out", str(tmp_path / "out")]
    words += ["--quiet", "--workers", "1"]
    assert detect(*words, "--root", str(roots[0])) == 2
    assert "one for each recipe" in capsys.readouterr().err
    assert detect(*words, "--root", str(roots[0]), "--root", str(roots[1])) == 0
    assert "6 cases of 6 patients" in capsys.readouterr().out
