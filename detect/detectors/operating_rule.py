"""The rules by which an operating point is chosen, and their spelling."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from converters.core.errors import ParameterError

Kind = Literal["f1", "sensitivity", "fp-per-image", "fp-per-scan"]

_MEANING: dict[Kind, str] = {
    "f1": "best class-mean F1",
    "sensitivity": "class-mean sensitivity",
    "fp-per-image": "false-positive boxes an image",
    "fp-per-scan": "false-positive boxes a scan",
}


@dataclass(frozen=True)
class Rule:
    """A rule by which a confidence is chosen.

    Attributes:
        kind: `f1`, the best class-mean F1; `sensitivity`, at least the wanted class-mean recall,
            with as few boxes as possible; `fp-per-image` or `fp-per-scan`, at most the wanted
            false-positive boxes (of all classes) an image or a scan, with as many as possible.
        wanted: the value; None for `f1`.
    """

    kind: Kind
    wanted: float | None = None

    def __str__(self) -> str:
        """Spell the rule as `parse_rule` reads it."""
        return self.kind if self.wanted is None else f"{self.kind}={self.wanted:g}"

    @property
    def meaning(self) -> str:
        """The rule in words, such as `class-mean sensitivity 0.9`."""
        return _MEANING[self.kind] + ("" if self.wanted is None else f" {self.wanted:g}")


def parse_rule(text: str) -> Rule:
    """Read `f1`, `sensitivity=S`, `fp-per-image=N` or `fp-per-scan=N`.

    Raises:
        InputError: anything else, a sensitivity outside (0, 1], or a negative rate.
    """
    kind, equals, number = text.partition("=")
    remedy = "use f1, sensitivity=0.9, fp-per-image=1 or fp-per-scan=2"
    if kind not in get_args(Kind) or bool(equals) == (kind == "f1"):
        raise ParameterError("operating_point", f"`{text}` is no rule", remedy)
    if kind == "f1":
        return Rule("f1")
    try:
        wanted = float(number)
    except ValueError:
        wanted = math.nan
    if not 0 <= wanted < math.inf or (kind == "sensitivity" and not 0 < wanted <= 1):
        least = "above 0 and at most 1" if kind == "sensitivity" else "of 0 or more"
        raise ParameterError("operating_point", f"`{text}` names no value {least}", remedy)
    return Rule(kind, wanted)  # type: ignore[arg-type]  # it is one of Kind
