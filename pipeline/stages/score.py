"""Score every real image at one state, and choose the window of the next segment; of a joint arm at state 0 alone."""

from pipeline import methods, params
from pipeline.work import passed


def main(arm: str, state: int) -> None:
    """Make `data/difficulty/<arm>/<state>.parquet`."""
    if state and methods.is_joint(params.read(), arm):
        passed.difficulty(arm, state)
    else:
        # Deferred: a joint arm ends here, without the seconds that torch takes to import.
        from pipeline.work.scoring import run

        run(arm, state)
