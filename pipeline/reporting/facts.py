"""What it takes to make a study again: parameters and versions."""

import hashlib
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

_PACKAGES = ("dasm", "torch", "dvc", "pyarrow")


def facts(root: Path, results: pd.DataFrame) -> dict[str, Any]:
    """Return the source of params.yaml and its hash, and which versions made the report and trained the networks."""
    source = (root / "params.yaml").read_bytes()
    return {
        "params": source.decode(),
        "hash": hashlib.sha256(source).hexdigest()[:12],
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "trained": sorted({f"torch {row.torch_version} on {row.device}" for row in results.itertuples()}),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # dvc may live in an environment of its own
        return "elsewhere"
