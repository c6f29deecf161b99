"""Make the empty state that an arm starts from."""

import json

from pipeline import layout


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/0`, which holds no segment. Needs no torch, whose import would be all the work."""
    folder = layout.distilled(arm, 0)
    folder.mkdir(parents=True, exist_ok=True)
    nothing = {"segments": 0, "images_per_class": 0, "iterations": 0}
    (folder / "state.json").write_text(json.dumps(nothing, indent=1) + "\n")
