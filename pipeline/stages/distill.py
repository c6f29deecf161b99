"""Distil one segment of an arm against its window."""

from pipeline.work.distillation import run


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>` from state k and its difficulty table."""
    run("distill", arm, k, windowed=True)
