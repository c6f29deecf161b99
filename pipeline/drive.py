"""`python -m pipeline reproduce [JOBS]` and `serve`: the Prefect flow around DVC."""

from dasm.errors import ConfigError
from pipeline import params, procs
from pipeline.dag import ReproduceError


def reproduce(jobs: str = "1") -> None:
    """Run every stage that needs it as a Prefect task, `jobs` at once.

    Raises:
        ConfigError: jobs out of range, no DVC project here, another driver at work, a stage that failed.
    """
    if not jobs.isdecimal() or int(jobs) < 1:
        raise ConfigError(f"reproduce: jobs must be >= 1, got {jobs!r}")
    try:
        procs.project()
        # Deferred: importing Prefect and torch takes seconds and is no business of the stages.
        from pipeline import flows, listing

        listing.warn(params.read())
        flows.reproduce(jobs=int(jobs))
    except ReproduceError as error:
        raise ConfigError(f"reproduce: {error}") from error


def serve() -> None:
    """Offer the flow to the Prefect UI, whose Run button then starts it.

    Raises:
        ConfigError: no DVC project here.
    """
    try:
        procs.project()
    except ReproduceError as error:
        raise ConfigError(f"serve: {error}") from error
    from pipeline import flows

    flows.serve()
