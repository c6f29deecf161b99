"""Dataset distillation via difficulty-aligned sequential matching: the library, without YAML, DVC or Prefect."""

import importlib
import os
from typing import Any

__version__ = "0.1.0"


def load(path: str | os.PathLike[str], prefix_ipc: int | None = None, labels: str = "auto") -> Any:  # noqa: ANN401 - see below
    """Read a distilled set: a torch `Dataset` of (normalised image, class or soft label). See `dasm.loading.load`.

    Args:
        path: a folder that `python -m pipeline export` wrote, one of the forms in it, or a state of an arm.
        prefix_ipc: stored images per class of the prefix wanted; all there are by default.
        labels: `auto`: soft labels where the set stores them, else class indices; `hard`: class indices; `soft`: soft
            labels, or an error.

    Returns:
        A `dasm.distilled.DistilledSet`.

    Raises:
        ConfigError: no such set, damage, or no such prefix; one line.
    """
    # By name, so that neither an interpreter nor whoever follows imports pays for torch with `import dasm`.
    return importlib.import_module("dasm.loading").load(path, prefix_ipc, labels)
