"""Train the evaluators of one state; of a joint arm, whose sets all have the window of state 0, none."""

from pipeline import methods, params
from pipeline.work import passed


def main(arm: str, state: int) -> None:
    """Make `data/evaluators/<arm>/<state>`."""
    if methods.is_joint(params.read(), arm):
        passed.evaluators(arm, state)
    else:
        # Deferred: a joint arm ends here, without the seconds that torch takes to import.
        from pipeline.work.training import run

        run(arm, state)
