"""Report input errors, which a user can put right, as one line each."""

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class InputError(Exception):
    """An input or a request is wrong, and the user can put it right.

    Printed by the command line as one line, ``FILE: PROBLEM. REMEDY``, with exit code 2 (or, for
    one scan among many, listed at the end with exit code 1).

    Args:
        path: the file or folder at fault.
        problem: what is wrong with it, without a full stop.
        remedy: how to put it right, without a full stop.
    """

    def __init__(self, path: str | Path, problem: str, remedy: str) -> None:
        """Keep the three parts, so that reports can list them apart."""
        self.path = str(path)
        self.problem = problem
        self.remedy = remedy
        super().__init__(path, problem, remedy)  # all arguments: it must survive pickling

    def __str__(self) -> str:
        """Format the error as one line, whatever the parts hold."""
        return " ".join(f"{self.path}: {self.problem}. {self.remedy}.".split())


class ParameterError(InputError):
    """A parameter of a function is wrong: ``path`` is its name, such as ``min_size_mm``.

    The command line prints the option of that parameter, such as ``--min-size-mm``, in its place.
    After a comma may follow which part of what the parameter names is at fault.
    """


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a remedy for an unknown name: the nearest known name, or all of them."""
    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`" if near else f"known: {', '.join(names) or 'none'}"
