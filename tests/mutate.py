"""Mutate the geometry and the counting, and list the mutants that no test notices.

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
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# source → test file in the folder of `tests/` that is called as the source's
SOURCES = {
    "converters/core/boxes.py": "test_boxes.py",
    "converters/imaging/orientation.py": "test_orientation.py",
    "converters/imaging/resample.py": "test_resample.py",
    "converters/imaging/volume.py": "test_orientation.py",
    "converters/preprocessing/frame.py": "test_frame.py",
    "converters/preprocessing/body.py": "test_body.py",
    "converters/preprocessing/representation.py": "test_representation.py",
    "converters/preprocessing/pictures.py": "test_representation.py",
    "converters/preprocessing/windowing.py": "test_windowing.py",
    "converters/masks/components.py": "test_components.py",
    "detect/evaluation/matching.py": "test_matching.py",
    "detect/evaluation/overlaps.py": "test_matching.py",
    "detect/linking/linking.py": "test_linking.py",
}

# pattern of a mutant as it is printed → why no test can tell it from the source
EQUIVALENT = {
    r"if (sign|flips\[0\].step) <": "it is 1 or -1",
    r"if across != \(slice": "planes that need no flip are copied onto themselves",
    r"to_file - 0.0": "numpy's products are sums from 0.0 on: none is -0.0",
    r"affine\[:4, :3\]|across\[(:4, :3|:3, :4)\]\)": "a row of 0, or no part of the diagonal, more",
    r"if worst >= |tilt.max\(\) <=|order\[axis\]\] > 0": "no number is just that",
    r"_ALIGNED = 0 |\] \+ np.diag": "the way of aligned axes gives what the general one does",
    r"self.(width|height) <= ": "a side that keeps its size is not interpolated",
    r"threshold\(grey.reshape\(-1, 1\),": "Otsu's rule sets the threshold; the picture is not used",
    r"reshape\((1, )?-2(, 4)?\)": "numpy takes any negative number for the rest",
    r"width >=? 0\) [&|] \(height >=? 0": "only products above 0 count as an overlap",
    r"None, :\] - edges": "a pixel has the middle of an edge on either side",
    r"k : k \+ 2\]": "a second row is not read",
    r"len\(score\) if score.ndim else -2|np.zeros\(\(0, [05]\)\)": "no shape is -2; none is (0, 4)",
    r"argsort\(boxes.score, kind=\"stable\"\)\]": "OpenCV sorts by score itself",
    r"[xy]\[-1\] \+ 2(,|\]\))|floodFill|append=-2|prepend=-3": "all that lies outside serves alike",
    r"_PAIRS_AT_ONCE =|lru_cache": "how many at once is a matter of memory",
}

PAIRS = "ceil floor, min max, minimum maximum, any all, argmin argmax"
SWAPPED_NAMES = {"round": "int", "rint": "floor"} | {
    a: b for pair in PAIRS.split(", ") for a, b in (pair.split(), pair.split()[::-1])
}
SWAPPED_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="), ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"), ast.NotIn: ("not in", "in"),
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "/"), ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"), ast.Mod: ("%", "*"), ast.BitAnd: ("&", "|"), ast.BitOr: ("|", "&"),
    ast.And: ("and", "or"), ast.Or: ("or", "and"),
    ast.USub: ("-", ""), ast.Not: ("not", ""), ast.Invert: ("~", ""),
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
    """Hold one change of a source: `new` in place of the bytes `start` to `end`."""

    source: str
    start: int
    end: int
    new: str

    def code(self) -> bytes:
        whole = (ROOT / self.source).read_bytes()
        return whole[: self.start] + self.new.encode() + whole[self.end :]

    def __str__(self) -> str:
        whole = (ROOT / self.source).read_bytes()
        old, line = whole[self.start : self.end].decode(), whole.count(b"\n", 0, self.start)
        changed = self.code().splitlines()[line].decode().strip()
        return f"{self.source}:{line + 1}  {old} -> {self.new or '(gone)'}  {changed}"


class Sites(ast.NodeVisitor):
    """Collect all mutants of a source, by the place that they change."""

    def __init__(self, source: str) -> None:
        self.source, self.code = source, (ROOT / source).read_bytes()
        self.line_starts = [0, *(match.end() for match in re.finditer(rb"\n", self.code))]
        self.sites: list[list[Mutant]] = []
        self.visit(ast.parse(self.code))

    def generic_visit(self, node: ast.AST) -> None:
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in ("annotation", "returns"):
                    self.visit(child)

    def visit_Raise(self, node: ast.AST) -> None:
        """Skip messages of errors and other text for people."""

    visit_JoinedStr = visit_Raise

    def visit_Constant(self, node: ast.Constant) -> None:
        value = node.value
        if isinstance(value, int | float) and not isinstance(value, bool):
            news = [value + 1, value * 0] + [value * 1.4] * isinstance(value, float)
            self._add(*self._span(node), *(f"{new:.6g}" for new in news if new != value))

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in SWAPPED_NAMES and isinstance(node.ctx, ast.Load):
            self._add(*self._span(node), SWAPPED_NAMES[node.id])

    def visit_Attribute(self, node: ast.Attribute) -> None:
        self.visit(node.value)
        if node.attr in SWAPPED_NAMES:
            end = self._span(node)[1]
            self._add(end - len(node.attr), end, SWAPPED_NAMES[node.attr])

    def visit_Compare(self, node: ast.Compare) -> None:
        operands = [node.left, *node.comparators]
        for left, operator, right in zip(operands, node.ops, operands[1:], strict=False):
            self._operator(operator, self._span(left)[1], self._span(right)[0])
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        for left, right in zip(node.values, node.values[1:], strict=False):
            self._operator(node.op, self._span(left)[1], self._span(right)[0])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self._operator(node.op, self._span(node.left)[1], self._span(node.right)[0])
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        self._operator(node.op, self._span(node)[0], self._span(node.operand)[0])
        self.generic_visit(node)

    def _operator(self, operator: ast.AST, start: int, end: int) -> None:
        old, new = SWAPPED_OPERATORS.get(type(operator), ("", ""))
        if old and (at := self.code.find(old.encode(), start, end)) >= 0:
            self._add(at, at + len(old), new)

    def _span(self, node: ast.expr) -> tuple[int, int]:
        start = self.line_starts[node.lineno - 1] + node.col_offset
        return start, self.line_starts[(node.end_lineno or 0) - 1] + (node.end_col_offset or 0)

    def _add(self, start: int, end: int, *news: str) -> None:
        self.sites.append([Mutant(self.source, start, end, new) for new in news])


def draw(sources: list[str], seed: int, count: int) -> list[Mutant]:
    """Draw mutants of places that differ, each place as likely; sorted by source and place."""
    sites = [site for source in sources for site in Sites(source).sites]
    rng = random.Random(seed)
    mutants = [rng.choice(site) for site in rng.sample(sites, min(count, len(sites)))]
    return sorted(mutants, key=lambda m: (sources.index(m.source), m.start))


class Copy:
    """Hold the tree in a temporary folder, and run its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "tree"
        skipped = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "docs")
        shutil.copytree(ROOT, self.folder, ignore=skipped)
        (self.folder / "mutate_profile.py").write_text(PLUGIN)
        self.clock, self.limits = 0, dict[str, float]()

    def catches(self, mutant: Mutant) -> bool:
        """Tell whether a test of the source fails, or does not end, with the mutant in place."""
        if mutant.source not in self.limits:
            start = time.monotonic()
            if self._tests_fail(mutant.source, 900):
                sys.exit(f"the tests of {mutant.source} fail without any change")
            self.limits[mutant.source] = 30 + 5 * (time.monotonic() - start)
        self._write(mutant.source, mutant.code())
        caught = self._tests_fail(mutant.source, self.limits[mutant.source])
        self._write(mutant.source, (ROOT / mutant.source).read_bytes())
        return caught

    def _write(self, source: str, code: bytes) -> None:
        (self.folder / source).write_bytes(code)
        self.clock += 1  # bytecode is known by whole seconds, so that each version needs its own
        os.utime(self.folder / source, (self.clock, self.clock))

    def _tests_fail(self, source: str, limit: float) -> bool:
        file = str(Path("tests", source).with_name(SOURCES[source]))
        words = [sys.executable, "-m", "pytest", file, "-x", "-q", "-p", "no:cacheprovider"]
        words += ["-p", "mutate_profile", "--hypothesis-profile", "mutate"]
        env = {k: v for k, v in os.environ.items() if k != "DETECT_REALDATA"}
        env |= {"PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        try:
            subprocess.check_output(
                words, cwd=self.folder, env=env, timeout=limit, stderr=subprocess.STDOUT
            )
        except subprocess.SubprocessError:  # a failed test, or out of time
            return True
        return False


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
        print(*mutants, sep="\n")
        return 0
    fates = []
    with tempfile.TemporaryDirectory(prefix="mutate") as folder:
        copy = Copy(Path(folder))
        for mutant in mutants:
            reasons = (why for part, why in EQUIVALENT.items() if re.search(part, str(mutant)))
            fates.append("caught" if copy.catches(mutant) else next(reasons, "SURVIVED"))
            print(f"{mutant}  [{fates[-1]}]", flush=True)
    caught = fates.count("caught")
    print(f"{caught} of {len(fates)} caught ({caught / max(len(fates), 1):.0%})")
    return int("SURVIVED" in fates)


if __name__ == "__main__":
    sys.exit(main())
