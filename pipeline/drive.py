"""`python -m pipeline reproduce [JOBS]` and `serve`: the Prefect flow around DVC."""

from dasm.errors import ConfigError


def reproduce(jobs: str = "1") -> None:
    """Run every stage that needs it as a Prefect task, `jobs` at once."""
    if not jobs.isdecimal() or int(jobs) < 1:
        raise ConfigError(f"reproduce: jobs must be >= 1, got {jobs!r}")
    # Deferred: importing Prefect takes seconds and is no business of the stages.
    from pipeline import flows

    flows.reproduce(jobs=int(jobs))


def serve() -> None:
    """Offer the flow to the Prefect UI, whose Run button then starts it."""
    from pipeline import flows

    flows.serve()
