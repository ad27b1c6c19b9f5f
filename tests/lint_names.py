"""Refuse names that say nothing of what they hold, such as `own` or `told`.

`make lint` runs it over the whole project. A variable, parameter, attribute, function or class may
not bear one of the names: the field has a noun for whatever it is.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

REFUSED = frozenset({"own", "one", "told", "said", "its", "there", "made", "found"})
ALLOWED = frozenset({("detect/evaluation/lesions.py", "found")})  # a key of `metrics.json`


def bound_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yield each name that a module binds, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.Attribute(attr=name, ctx=ast.Store()):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name, node.lineno
            case ast.ClassDef(name=name) | ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno


def main() -> int:
    """List refused names on stdout; return 1 if there are any."""
    listed = subprocess.check_output(["git", "ls-files", "*.py"], encoding="utf-8")
    refused = [
        f"{path}:{line}: the name `{name}` says nothing of what it holds"
        for path in listed.splitlines()
        for name, line in bound_names(ast.parse(Path(path).read_text(encoding="utf-8")))
        if name in REFUSED and (path, name) not in ALLOWED
    ]
    print(*refused, sep="\n", end="\n" if refused else "")
    return bool(refused)


if __name__ == "__main__":
    sys.exit(main())
