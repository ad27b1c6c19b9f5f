"""Order names as people count: `case2` before `case10`."""

import re


def natural_key(name: str) -> tuple[tuple[int, int | str], ...]:
    """Return a sort key under which `case-9` comes before `case-10`."""
    return tuple(
        (0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)
    )
