"""Which training labels were changed on purpose (`dasm/data/noisy.py`): for studies of what wrong labels do.

Nothing of the method imports this: neither a score nor a window may know.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Int64

from dasm.errors import ConfigError

#: Of a prepared data set, beside `train.labels.npy`, where any label was changed: what they were before.
TRUTH = "train.truth.npy"


def read_truth(folder: Path) -> Int64[np.ndarray, " n"] | None:
    """Return the training labels of a prepared data set as they were before any was changed; None if none was.

    Raises:
        ConfigError: the file is there and is not one that `dasm.images.prepare` wrote.
    """
    path = folder / TRUTH
    if not path.exists():
        return None
    try:
        truth: Int64[np.ndarray, " n"] = np.load(path, allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise ConfigError(f"{path}: must be an array of class indices ({error})") from error
    return truth
