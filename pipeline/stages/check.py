"""Check every parameter before any work starts."""

from pathlib import Path

from dasm.plugins import build
from pipeline import params
from pipeline.study import Study


def main() -> None:
    """Make `data/checked.txt`, or say what is wrong with params.yaml in one line."""
    build(Study, params.read(), "params.yaml")
    Path("data").mkdir(exist_ok=True)
    Path("data/checked.txt").write_text("params.yaml names only what there is.\n")
