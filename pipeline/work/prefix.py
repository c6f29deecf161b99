"""One segment of an arm or a control, or of a joint one the whole prefix, where anybody asks for it."""

from pipeline import methods, params
from pipeline.work import passed


def make(stage: str, arm: str, k: int, *, windowed: bool) -> None:
    """Make `data/distilled/<arm>/<k + 1>`; of a joint prefix that nobody asks for, only its size.

    Where the whole set is distilled once, the first state does it, and later ones take from what lies ahead.
    """
    study = params.read()
    if k and methods.is_once(study, arm):
        passed.piece(stage, arm, k)
    elif methods.prefix_due(arm, k + 1):
        # Deferred: a prefix that is passed over is written without the seconds that torch takes to import.
        from pipeline.work.distillation import run

        run(stage, arm, k, windowed=windowed)
    else:
        passed.prefix(stage, arm, k, methods.whole_plan(study, arm, k))
