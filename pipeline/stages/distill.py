"""Distil one segment of an arm against its window; of a joint arm the whole prefix, against the window of state 0."""

from pipeline.work.prefix import make


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>`; of a joint prefix that nobody asks for, only its size."""
    make("distill", arm, k, windowed=True)
