"""The files of a watched folder, and those that still change."""

from pathlib import Path

import pytest

from detect.inference.watching.inbox import Settling, list_inbox


def stamps(folder: Path) -> dict[str, str]:
    by_path = list_inbox(folder, folder / "out").stamps
    return {path.relative_to(folder).as_posix(): stamp for path, stamp in by_path.items()}


def test_what_counts_as_a_scan(tmp_path: Path) -> None:
    for name in (
        "a.nii.gz", "sub/b.NII", "sub/c.mhd", "sub/c.raw", "series/1", "series/2", ".d.nii",
        ".hidden/e.nii", "out/case/lesions.nii.gz",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "elsewhere.nii").symlink_to("/etc/passwd")
    first = stamps(tmp_path)
    assert first.keys() == {"a.nii.gz", "sub/b.NII", "sub/c.mhd", "sub", "series"}
    (tmp_path / "sub" / "c.raw").write_text("longer than before")
    (tmp_path / "series" / "3").touch()
    second = stamps(tmp_path)
    changed = {name for name in first if first[name] != second[name]}
    assert changed == {"sub/c.mhd", "sub", "series"}
    assert first["a.nii.gz"] == stamps(tmp_path)["a.nii.gz"]


def test_only_what_has_not_changed_for_long_enough_settles(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    settling = Settling(10)
    a, b = Path("a"), Path("b")
    seen = []
    for now, stamp in ((0, "1"), (6, "2"), (11, "2"), (15, "2"), (16, "2"), (17, "3")):
        seen.append(settling.settled({a: stamp, b: "0"} if now != 11 else {a: stamp}))
    assert seen == [[], [], [], [], [a], []]  # b went away at 11, and came back at 15
    now = 25.0
    assert settling.settled({a: "3", b: "0"}) == [b]
