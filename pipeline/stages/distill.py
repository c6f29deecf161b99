"""Distil one segment of an arm against its window; of a joint arm the whole prefix, against the window of state 0."""

from pipeline import methods, params
from pipeline.work import passed


def main(arm: str, k: int) -> None:
    """Make `data/distilled/<arm>/<k + 1>`; of a joint prefix that nobody asks for, only its size."""
    study = params.read()
    if methods.prefix_due(arm, k + 1):
        # Deferred: a prefix that is passed over is written without the seconds that torch takes to import.
        from pipeline.work.distillation import run

        run("distill", arm, k, windowed=True, joint=methods.is_joint(study, arm))
    else:
        passed.prefix("distill", arm, k, methods.whole_plan(study, arm, k))
