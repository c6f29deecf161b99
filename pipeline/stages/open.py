"""The empty state that an arm starts from."""

import json
from pathlib import Path

from pipeline import layout


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/0`, and `data/evaluators/<arm>/0` with no network in it."""
    empty = {"segments": 0, "images_per_class": 0, "iterations": 0}
    _write(layout.distilled(arm, 0) / "state.json", empty)
    _write(layout.evaluators(arm, 0) / "state.json", {"networks": 0})


def _write(path: Path, content: dict[str, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n")
