"""`python -m pipeline reproduce [JOBS] [TARGET]...` and `serve`: the Prefect flow around DVC."""

from dasm.errors import require
from pipeline.drivers import procs
from pipeline.graph import dag


def reproduce(*words: str) -> None:
    """Run every stage that needs it as a Prefect task.

    Args:
        words: how many stages at a time, and the stages or groups of stages to run, with all they need; both may be
            left out.

    Raises:
        ConfigError: jobs out of range, no DVC project here, no Prefect server where one is said to be, another driver
            at work, a stage that failed.
    """
    jobs, targets = (int(words[0]), words[1:]) if words and words[0].isdecimal() else (1, words)
    require(jobs >= 1, "reproduce: jobs must be >= 1", jobs)
    wrong = next((word for word in targets if word.startswith("-")), "")
    require(not wrong, "reproduce: must be given a number of jobs, and names of stages", wrong)
    procs.project()
    dag.check_laid_out()  # what is no YAML, or no study at all, is said before Prefect is imported, too
    # Deferred: a wrong number or folder is said before Prefect is imported, which takes seconds.
    from pipeline import flows
    from pipeline.drivers import publish

    with procs.deaf():
        publish.find_server(lasting=False)
    flows.reproduce(jobs=jobs, targets=[*targets])


def serve() -> None:
    """Offer the flow to the Prefect UI, whose Run button then starts it.

    Raises:
        ConfigError: no DVC project here, no Prefect server.
    """
    procs.project()
    from pipeline import flows
    from pipeline.drivers import publish

    publish.find_server(lasting=True)
    flows.serve()
