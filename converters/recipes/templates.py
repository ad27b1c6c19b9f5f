"""Match the path templates of recipes, which capture names of cases and patients."""

import re

CASE = "{case}"
PATIENT = "{patient}"
STRUCTURE = "{structure}"

_PIECES = re.compile(r"(\*\*/|\*|\{case\}|\{patient\}|\{structure\})")
_MEANING = {"**/": r"(?:.*/)?", "*": r"[^/]*"}


def template_pattern(template: str) -> re.Pattern[str]:
    """Compile a path template; `{case}`, `{patient}` and `{structure}` each capture a name.

    Where one of them stands twice, both places must hold the same.
    """
    pattern = ""
    seen: set[str] = set()
    for piece in _PIECES.split(template):
        name = piece[1:-1]
        if piece not in (CASE, PATIENT, STRUCTURE):
            pattern += _MEANING.get(piece, re.escape(piece))
        else:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]+?)"
            seen.add(name)
    return re.compile(pattern)


def check_templates(image: str, mask: str, case_id: str, kind: str) -> None:
    """Check that a recipe's templates hold the placeholders that its kind of mask needs.

    Raises:
        ValueError: a template lacks something.
    """
    spared = {"boxes": ("mask",), "cuboids": ("mask", "case_id")}.get(kind, ())
    for field, template in (("image", image), ("mask", mask), ("case_id", case_id)):
        if CASE not in template and field not in spared:
            raise ValueError(f"`{field}` must contain {CASE}")
        if PATIENT in template and PATIENT not in image:
            raise ValueError(f"`{field}` can contain {PATIENT} only where `image` does")
        wanted = field == "mask" and kind == "structures"
        if wanted and STRUCTURE not in template:
            raise ValueError(f"`mask` must contain {STRUCTURE} with mask_kind structures")
        if STRUCTURE in template and not wanted:
            raise ValueError(f"only `mask`, with mask_kind structures, can contain {STRUCTURE}")
