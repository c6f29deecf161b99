"""What it takes to make a study again: parameters and versions."""

import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline import params

_PACKAGES = ("dasm", "torch", "dvc", "pyarrow")


def facts(root: Path, study: Mapping[str, Any], results: pd.DataFrame) -> dict[str, Any]:
    """Return the source of params.yaml, a digest of its values, and which versions made the report and its networks.

    Comments are no part of the digest, as no stage follows them, this one neither.
    """
    return {
        "params": (root / "params.yaml").read_text(encoding="utf-8"),
        "digest": params.digest(study),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "trained": sorted({f"torch {row.torch_version} on {row.device}" for row in results.itertuples()}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # dvc may live in an environment of its own
        return "elsewhere"
