"""Distil one segment of a control: without scores, and for a joint control the whole set of every prefix at once."""

from pipeline import methods, params
from pipeline.distillation import run


def main(arm: str, k: str) -> None:
    """Make `data/distilled/<arm>/<k + 1>` from state k."""
    run("control", arm, int(k), weights=None, rank=None, joint=methods.is_joint(params.read(), arm))
