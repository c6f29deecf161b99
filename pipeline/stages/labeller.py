"""Train the network that labels every set of the benchmark (R17), where the protocol wants one; else a light stage."""

from pipeline import params
from pipeline.work import passed


def main() -> None:
    """Make `data/labeller`."""
    study = params.read()
    protocol = params.value(study, "benchmark.protocol")
    if protocol.get("labels") == "teacher":
        # Deferred: most studies end here, without the seconds that torch takes to import.
        from pipeline.work.labelling import train

        train()
    else:
        passed.labeller()
