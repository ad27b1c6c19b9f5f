"""One recipe a dataset, as YAML beside this file; data only."""

from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """Recipe name → its file."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yaml"))}
