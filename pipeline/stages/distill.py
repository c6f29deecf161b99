"""Distil one segment of an arm against its window."""

from dasm.tables import read_window
from pipeline import layout
from pipeline.distillation import run


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>` from state k and its difficulty table."""
    weights, rank = read_window(layout.difficulty(arm, k))
    run("distill", arm, k, weights=weights, rank=rank)
