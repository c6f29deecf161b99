"""Distil one segment of a control: without scores, and for a joint control the whole set of a prefix at once."""

from pipeline.work.prefix import make


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>`; of a joint prefix that nobody asks for, only its size."""
    make("control", arm, k, windowed=False)
