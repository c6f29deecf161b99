"""Distil one segment of an arm against its window; of a joint arm the whole prefix, against the window of state 0."""

from pipeline import methods, params
from pipeline.work.distillation import run


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>` from state k and its difficulty table."""
    run("distill", arm, k, windowed=True, joint=methods.is_joint(params.read(), arm))
