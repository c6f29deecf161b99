"""Write the report of the study in force."""

from pathlib import Path

from pipeline import params, report


def main() -> None:
    """Make `reports/<study>`."""
    report.write(Path(), params.read(Path("params.yaml")))
