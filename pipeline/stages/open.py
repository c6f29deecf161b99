"""Make the empty state that an arm starts from."""

from pipeline import layout
from pipeline.states import write_state


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/0`."""
    write_state(layout.distilled(arm, 0), None, [], [], {})
