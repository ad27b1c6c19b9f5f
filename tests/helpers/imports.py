"""The modules that a command imports."""

import json
import subprocess
import sys
from collections.abc import Sequence


def end_and_modules(words: Sequence[object]) -> tuple[int, set[str]]:
    """Run `detect` in a process of its own; returns its exit code and every module it imported."""
    code = (
        "import json, sys\n"
        "from detect.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: print(json.dumps([end.code, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, words)],
        capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    ended, modules = json.loads(done.stdout.splitlines()[-1])
    return ended, set(modules)
