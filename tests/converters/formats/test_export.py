"""The export's folder: whole or not at all, and never at the cost of what lies there."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from converters.core.errors import InputError
from converters.dataset.audit import check
from converters.formats.export import FORMATS, export_dataset
from detect.cli.main import main


def tree(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.mark.parametrize("to", FORMATS)
def test_every_format_holds_all_pictures_and_nothing_of_this_machine(
    to: str, tiny_dataset: Path, tmp_path: Path
) -> None:
    result = export_dataset(tiny_dataset, to, tmp_path / "a")
    export_dataset(tiny_dataset, to, tmp_path / "b")
    exported = tree(tmp_path / "a")
    assert exported == tree(tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir() if p.name not in "ab"] == []

    def pictures(files: dict[str, str]) -> list[str]:
        return sorted(v for k, v in files.items() if k.endswith(".png"))

    assert pictures(exported) == pictures(tree(tiny_dataset))
    assert result.images == len(pictures(exported)) and result.negatives > 0 and result.boxes > 0
    for file in (tmp_path / "a").rglob("*"):
        assert file.is_dir() or str(tmp_path.parent).encode() not in file.read_bytes()
    text = (tmp_path / "a/README.txt").read_text(encoding="utf-8")
    assert FORMATS[to].notes in text and "0 bright, 1 dark" in text
    assert check(tiny_dataset) == []


def test_linked_pictures_take_no_space(tiny_dataset: Path, tmp_path: Path) -> None:
    export_dataset(tiny_dataset, "voc", tmp_path / "linked", link=True)
    export_dataset(tiny_dataset, "voc", tmp_path / "copied")
    assert tree(tmp_path / "linked") == tree(tmp_path / "copied")
    for split in ("train", "val", "test"):
        for source in (tiny_dataset / "images" / split).iterdir():
            assert (tmp_path / "linked/JPEGImages" / source.name).samefile(source)
            assert not (tmp_path / "copied/JPEGImages" / source.name).samefile(source)


def test_an_export_is_replaced_only_when_asked(tiny_dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    export_dataset(tiny_dataset, "coco", out)
    before = tree(out)
    with pytest.raises(InputError, match="--overwrite"):
        export_dataset(tiny_dataset, "voc", out)
    assert tree(out) == before
    export_dataset(tiny_dataset, "voc", out, overwrite=True)
    assert (out / "JPEGImages").is_dir() and not (out / "annotations").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_what_is_no_export_is_never_replaced(tiny_dataset: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_dataset, tmp_path / "dataset"))
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/README.txt").write_text("my thesis")
    (tmp_path / "file").write_text("my thesis")
    before = tree(tmp_path)
    for out in ("dataset", "dataset/images", "", "notes", "file"):
        with pytest.raises(InputError):
            export_dataset(copy, "coco", tmp_path / out, overwrite=True)
    assert tree(tmp_path) == before


def test_interrupted_it_leaves_no_export_and_runs_again(
    tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export_dataset(tiny_dataset, "voc", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    left = tmp_path / ".out.0123abcd-4567cdef.partial/JPEGImages"  # as a kill leaves it
    left.mkdir(parents=True)
    (left / "half.png").write_bytes(b"half")
    export_dataset(tiny_dataset, "voc", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert not (tmp_path / "out/JPEGImages/half.png").exists()


def edit(dataset: Path, change: object) -> None:
    file = dataset / "annotations/instances_test.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    change(content)  # type: ignore[operator]
    file.write_text(json.dumps(content))


DAMAGES = {
    "unknown class": lambda c: c["annotations"][0].update(category_id=7),
    "unknown picture": lambda c: c["annotations"][0].update(image_id=9999),
    "box of three numbers": lambda c: c["annotations"][0].update(bbox=[1, 2, 3]),
    "endless box": lambda c: c["annotations"][0].update(bbox=[1, 2, 3, float("inf")]),
    "no size": lambda c: c["images"][0].pop("width"),
    "empty picture": lambda c: c["images"][0].update(width=0),
    "id twice": lambda c: c["images"][0].update(id=c["images"][1]["id"]),
    "name twice": lambda c: c["images"][0].update(file_name=c["images"][1]["file_name"]),
    "leads out": lambda c: c["images"][0].update(file_name="../../dataset.json"),
    "zero byte": lambda c: c["images"][0].update(file_name="a\0.png"),
    "not there": lambda c: c["images"][0].update(file_name="gone.png"),
    "no list": lambda c: c.update(images={"a": 1}),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_dataset_is_one_line(
    kind: str, tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Path(shutil.copytree(tiny_dataset, tmp_path / "dataset"))
    edit(dataset, DAMAGES[kind])
    assert run("export", dataset, "--to", "yolo", "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and "convert again" in line
    assert [p.name for p in tmp_path.iterdir()] == ["dataset"]


def test_a_picture_cut_short(tiny_dataset: Path, tmp_path: Path) -> None:
    dataset = Path(shutil.copytree(tiny_dataset, tmp_path / "dataset"))
    picture = next((dataset / "images/train").iterdir())
    picture.write_bytes(picture.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a whole PNG"):
        export_dataset(dataset, "coco", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_line(
    tiny_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("export", tiny_dataset, "--to", "createml", "--out", out, "--link") == 0
    assert "without a box" in capsys.readouterr().out
    assert (out / "valid/_annotations.createml.json").is_file()

    assert run("export", tiny_dataset, "--to", "yolov5", "--out", tmp_path / "no") == 2
    assert "did you mean yolo" in capsys.readouterr().err
    assert run("export", tiny_dataset, "--to", "onnx", "--out", tmp_path / "no") == 2
    assert "coco, yolo, voc, rfdetr, cvat, labelstudio, createml, csv" in capsys.readouterr().err
    assert run("export", tmp_path, "--to", "coco", "--out", tmp_path / "no") == 2
    assert "no dataset" in capsys.readouterr().err
    (tmp_path / "model.json").write_text("{}")
    assert run("export", tmp_path, "--to", "coco", "--out", tmp_path / "no") == 2
    assert "is a model" in capsys.readouterr().err
    assert not (tmp_path / "no").exists()
