"""Where every artefact lies, relative to the project's root."""

from pathlib import Path

BLUEPRINT = Path("data/blueprint")
REAL = Path("data/real")
IMAGES = Path("data/images.parquet")
TEACHERS = Path("data/evaluators/real")
LEDGER = Path("data/ledger")
FULL = Path("data/results/full.parquet")
DIAGNOSIS = Path("data/diagnosis")
LABELLER = Path("data/labeller")

#: Inside the folder of a state: segments that later states add, of a set that was distilled at once and is cut.
AHEAD = "ahead"


def evaluators(arm: str, state: int) -> Path:
    """Return the folder of the networks of one state; at state 0 it is empty, and `TEACHERS` are scored."""
    return Path(f"data/evaluators/{arm}/{state}")


def experts(arm: str, state: int) -> Path:
    """Return the folder of the expert trajectories of one state; `real`: those of every first segment, from scratch."""
    return Path("data/experts/real") if arm == "real" else Path(f"data/experts/{arm}/{state}")


def difficulty(arm: str, state: int) -> Path:
    """Return the table of difficulty and window after `state` segments."""
    return Path(f"data/difficulty/{arm}/{state}.parquet")


def distilled(arm: str, state: int) -> Path:
    """Return the folder that holds one Parquet file per segment so far."""
    return Path(f"data/distilled/{arm}/{state}")


def results(arm: str, state: int) -> Path:
    """Return the benchmark table of the first `state` segments."""
    return Path(f"data/results/{arm}/{state}.parquet")
