"""Read the results that earlier runs left in a folder."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detect.inference.process_scan import DECISIVE


def results(out: Path, facts: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each case of the same models with its `detections.json`, sorted by name.

    Args:
        out: folder of the outputs.
        facts: of the models.
    """
    for path in sorted(out.glob("[!.]*/detections.json")):  # not what a killed run left half
        try:
            content = json.loads(path.read_bytes())
            if all(content.get(key) == facts.get(key) for key in DECISIVE):
                yield path.parent.name, content
        except (OSError, ValueError, AttributeError):  # not written by detect
            continue
