"""Train the experts of one state, where a segment comes after it whose objective follows any; else a light stage."""

from pipeline import methods
from pipeline.work import passed


def main(arm: str, k: int) -> None:
    """Make `data/experts/<arm>/<k>`; `real 0`: from scratch, for every first segment."""
    due, because = methods.experts_due(arm, k)
    if due:
        # Deferred: most arms end here, without the seconds that torch takes to import.
        from pipeline.work.experts import run

        run(arm, k)
    else:
        passed.experts(arm, k, because)
