"""`python -m pipeline reproduce [JOBS]` and `serve`: the Prefect flow around DVC."""

from dasm.errors import ConfigError
from pipeline import params


def reproduce(jobs: str = "1") -> None:
    """Run every stage that needs it as a Prefect task, `jobs` at once."""
    if not jobs.isdecimal() or int(jobs) < 1:
        raise ConfigError(f"reproduce: jobs must be >= 1, got {jobs!r}")
    # Deferred: importing Prefect and torch takes seconds and is no business of the stages.
    from pipeline import flows, listing

    listing.warn(params.read())
    flows.reproduce(jobs=int(jobs))


def serve() -> None:
    """Offer the flow to the Prefect UI, whose Run button then starts it."""
    from pipeline import flows

    flows.serve()
