"""List the shipped recipes: one YAML file a dataset, beside this file."""

from pathlib import Path


def recipe_files() -> dict[str, Path]:
    """Map the name of each shipped recipe to its file."""
    return {file.stem: file for file in sorted(Path(__file__).parent.glob("*.yaml"))}
