"""The mutation script: what it changes, and that its table names files that are there."""

import ast
from pathlib import Path

import pytest

from tests import mutate

SOURCE = '''"""A margin of 3 px."""

LIMIT = 2  # at least 1

def cut(n: int = 0, wide: bool = True) -> tuple[int, 7]:
    """Cut 4."""
    if not n <= LIMIT and wide:
        raise ValueError(f"{n + 1} is above 5" + str(6))
    return -(max(n, 1.5) // n), "8"
'''


def test_every_source_and_its_tests_exist() -> None:
    for source, test in mutate.SOURCES.items():
        assert (mutate.ROOT / source).is_file()
        assert (mutate.ROOT / "tests" / source).with_name(test).is_file()


def test_numbers_comparisons_and_operators_are_changed_and_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mutate, "ROOT", tmp_path)
    (tmp_path / "a.py").write_text(SOURCE, encoding="utf-8")
    mutants = [mutant for site in mutate.Sites("a.py").sites for mutant in site]
    for mutant in mutants:
        ast.parse(mutant.code())
    changes = sorted(str(mutant).split("  ")[:2] for mutant in mutants)
    assert [f"{place[5:]} {change}" for place, change in changes] == [
        "3 2 -> 0", "3 2 -> 3",
        "5 0 -> 1",
        "7 <= -> <", "7 and -> or", "7 not -> (gone)",
        "9 - -> (gone)", "9 // -> /", "9 1.5 -> 0", "9 1.5 -> 2.1", "9 1.5 -> 2.5", "9 max -> min",
    ]  # fmt: skip


def test_a_seed_draws_the_same_mutants_of_places_that_differ() -> None:
    drawn = mutate.draw(list(mutate.SOURCES), 0, 100)
    assert drawn == mutate.draw(list(mutate.SOURCES), 0, 100)
    assert drawn != mutate.draw(list(mutate.SOURCES), 1, 100)
    assert len({(mutant.source, mutant.start) for mutant in drawn}) == 100
