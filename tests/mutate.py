"""Mutation testing of the geometry and the counting: which small faults do the tests notice?

    python tests/mutate.py --seed 0 --count 100

Each mutant is one changed number, comparison or operator in a copy of the tree in a temporary
folder, where the tests of that source are run until one fails. The exit code is 1 where a mutant
survives that `EQUIVALENT` does not explain.
"""

import argparse
import ast
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# source → test files, the quickest and most specific first
SOURCES: dict[str, list[str]] = {
    "converters/orientation.py": ["tests/converters/test_orientation.py"],
    "converters/regrid.py": ["tests/converters/test_resample.py"],
    "converters/volume.py": ["tests/converters/test_orientation.py"],
    "converters/frame.py": ["tests/converters/test_frame.py"],
    "converters/body.py": ["tests/converters/test_body.py"],
    "converters/representation.py": ["tests/converters/test_representation.py"],
    "converters/channels.py": ["tests/converters/test_representation.py"],
    "converters/windowing.py": ["tests/converters/test_windowing.py"],
    "converters/components.py": ["tests/converters/test_components.py"],
    "detect/evaluation/matching.py": ["tests/evaluation/test_matching.py"],
    "detect/evaluation/pairs.py": [
        "tests/evaluation/test_matching.py",
        "tests/evaluation/test_against_brute_force.py",
    ],
    "detect/inference/linking.py": ["tests/inference/test_linking.py"],
}

# part of a mutated line → why no test can tell it from the line itself
EQUIVALENT: dict[str, str] = {}

SWAPPED_NAMES = {
    a: b
    for pair in (("ceil", "floor"), ("min", "max"), ("minimum", "maximum"), ("any", "all"),
                 ("argmin", "argmax"))
    for a, b in (pair, pair[::-1])
} | {"round": "int", "rint": "floor"}  # fmt: skip
SWAPPED_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.USub: ("-", ""), ast.Not: ("not ", ""), ast.Invert: ("~", ""),
}  # fmt: skip

# shrinking a failing example takes long and tells nothing here
PLUGIN = """
from hypothesis import HealthCheck, Phase, settings
settings.register_profile(
    "mutate", derandomize=True, database=None, deadline=None,
    phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck),
)
"""


@dataclass(frozen=True)
class Mutant:
    """One change: the bytes `start` to `end` of a source, replaced."""

    source: str
    line: int
    start: int
    end: int
    old: str
    new: str

    def apply(self, code: bytes) -> bytes:
        return code[: self.start] + self.new.encode() + code[self.end :]

    def changed_line(self, code: bytes) -> str:
        return self.apply(code).splitlines()[self.line - 1].decode().strip()


class Sites(ast.NodeVisitor):
    """All mutants of a source, by the place that they change."""

    def __init__(self, source: str, code: bytes) -> None:
        self.source, self.code = source, code
        self.line_starts = [0, *(match.end() for match in re.finditer(rb"\n", code))]
        self.sites: list[list[Mutant]] = []
        self.visit(ast.parse(code))

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "type_comment"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    self.visit(child)

    def visit_Raise(self, node: ast.Raise) -> None:
        """Skip messages of errors."""

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """Skip text for people."""

    def visit_Assign(self, node: ast.Assign) -> None:
        if not any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        start, end = self._span(node)
        news = [value + 1, value * 0] + [value * 1.4] * isinstance(value, float)
        self._add(start, end, [f"{new:.6g}" for new in news if new != value])

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in SWAPPED_NAMES and isinstance(node.ctx, ast.Load):
            self._add(*self._span(node), [SWAPPED_NAMES[node.id]])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        if node.attr in SWAPPED_NAMES:
            end = self._span(node)[1]
            self._add(end - len(node.attr), end, [SWAPPED_NAMES[node.attr]])

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._between(left, operator, right)
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._between(left, node.op, right)
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._between(node.left, node.op, node.right)
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        start = self._span(node)[0]
        self._operator(node.op, start, self._span(node.operand)[0])
        self.generic_visit(node)

    def _between(self, left: ast.AST, operator: ast.AST, right: ast.AST) -> None:
        self._operator(operator, self._span(left)[1], self._span(right)[0])

    def _operator(self, operator: ast.AST, start: int, end: int) -> None:
        old, new = SWAPPED_OPERATORS.get(type(operator), ("", ""))
        at = self.code.find(old.encode(), start, end)
        if old and at >= 0:
            self._add(at, at + len(old), [new])

    def _span(self, node: ast.AST) -> tuple[int, int]:
        assert isinstance(node, ast.expr) and node.end_lineno and node.end_col_offset is not None
        return (
            self.line_starts[node.lineno - 1] + node.col_offset,
            self.line_starts[node.end_lineno - 1] + node.end_col_offset,
        )

    def _add(self, start: int, end: int, news: list[str]) -> None:
        old, line = self.code[start:end].decode(), self.code.count(b"\n", 0, start) + 1
        self.sites.append([Mutant(self.source, line, start, end, old, new) for new in news])


def draw(sources: list[str], seed: int, count: int) -> list[Mutant]:
    """Draw mutants of places that differ, each place as likely; sorted by source and place."""
    sites = [site for name in sources for site in Sites(name, (ROOT / name).read_bytes()).sites]
    rng = random.Random(seed)
    places = rng.sample(sites, min(count, len(sites)))
    mutants = [rng.choice(site) for site in places]
    return sorted(mutants, key=lambda m: (sources.index(m.source), m.start))


class Copy:
    """The tree in a temporary folder, and its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "docs")
        shutil.copytree(ROOT, self.folder, ignore=skipped)
        (self.folder / "mutate_profile.py").write_text(PLUGIN)
        self.clock = 0
        self.limits: dict[str, float] = {}

    def fails(self, source: str, code: bytes) -> bool:
        """Whether a test of a source fails, or does not end, with this code in its place."""
        path = self.folder / source
        whole = path.read_bytes()
        try:
            self._write(path, code)
            return self._tests_fail(source, self.limits[source])
        finally:
            self._write(path, whole)

    def measure(self, source: str) -> None:
        """Set the time limit of a source by a run without a change, which has to pass."""
        start = time.monotonic()
        if self._tests_fail(source, 900):
            sys.exit(f"the tests of {source} fail without any change")
        self.limits[source] = 30 + 5 * (time.monotonic() - start)

    def _write(self, path: Path, code: bytes) -> None:
        path.write_bytes(code)
        self.clock += 1  # bytecode is known by whole seconds, so that each version needs its own
        os.utime(path, (self.clock, self.clock))

    def _tests_fail(self, source: str, limit: float) -> bool:
        words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        words += ["-p", "mutate_profile", "--hypothesis-profile", "mutate", *SOURCES[source]]
        env = {k: v for k, v in os.environ.items() if k != "DETECT_REALDATA"}
        env |= {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        try:
            run = subprocess.run(
                words, cwd=self.folder, env=env, timeout=limit, capture_output=True, check=False
            )
        except subprocess.TimeoutExpired:
            return True
        if run.returncode == 4:  # no such file
            sys.exit(run.stderr.decode())
        return run.returncode != 0


def run(mutants: list[Mutant]) -> Iterator[tuple[Mutant, str, str]]:
    """Yield each mutant with its changed line and its fate: caught, equivalent or survived."""
    with tempfile.TemporaryDirectory(prefix="mutate") as folder:
        copy = Copy(Path(folder))
        for mutant in mutants:
            if mutant.source not in copy.limits:
                copy.measure(mutant.source)
            code = (ROOT / mutant.source).read_bytes()
            line = mutant.changed_line(code)
            if copy.fails(mutant.source, mutant.apply(code)):
                yield mutant, line, "caught"
            else:
                reasons = [why for part, why in EQUIVALENT.items() if part in line]
                yield mutant, line, f"equivalent: {reasons[0]}" if reasons else "SURVIVED"


def main() -> int:
    """Parse the command line, run the mutants and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=100, help="at most so many mutants")
    parser.add_argument("--only", action="append", choices=SOURCES, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="list the mutants, run nothing")
    asked = parser.parse_args()
    mutants = draw(asked.only or list(SOURCES), asked.seed, asked.count)
    if asked.list:
        for mutant in mutants:
            line = mutant.changed_line((ROOT / mutant.source).read_bytes())
            print(f"{mutant.source}:{mutant.line}  {mutant.old} -> {mutant.new or '(gone)'}  {line}")
        return 0
    fates = []
    for mutant, line, fate in run(mutants):
        change = f"{mutant.old} -> {mutant.new or '(gone)'}"
        print(f"{mutant.source}:{mutant.line}  {change}  {line}  [{fate}]", flush=True)
        fates.append(fate)
    caught = fates.count("caught")
    print(f"{caught} of {len(fates)} caught ({caught / max(len(fates), 1):.0%})")
    return int("SURVIVED" in fates)


if __name__ == "__main__":
    sys.exit(main())
