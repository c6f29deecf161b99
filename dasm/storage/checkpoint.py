"""One file that long work is continued from."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import final

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dasm.storage.files import write_atomically

# A save may cost this share of the time: those of large sets take longer than the seconds between two.
_SHARE = 0.05


@final
class Checkpoint:
    """The latest state of one piece of work.

    Whoever names the file answers for its identity: the name must change with everything that the work depends on.
    """

    def __init__(self, path: Path, *, every_seconds: float = 20.0) -> None:
        """Keep the state in `path`, renewed at most every so many seconds, and less often where it takes long to save.

        With 0 it is renewed whenever it can be.
        """
        self._path = path
        self._every = self._wait = every_seconds
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """Return the saved tensors (on the CPU), or nothing if there are none, or a disk has lost some of the file."""
        if not self._path.exists():
            return None
        try:
            # Cloned, because a tensor mapped from a file may lie at an address where kernels sum in another order.
            return {name: tensor.clone() for name, tensor in load_file(self._path).items()}
        except SafetensorError as error:
            logging.getLogger("dasm").warning("%s: %s; begun anew", self._path, error)
            return None

    def offer(self, tensors: Callable[[], Mapping[str, Tensor]]) -> None:
        """Save what `tensors` returns if the last save is old enough."""
        begun = time.monotonic()
        if begun - self._saved < self._wait:
            return
        found = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors().items()}
        write_atomically(self._path, lambda file: save_file(found, file))
        self._saved = time.monotonic()
        if self._every:
            self._wait = max(self._every, (self._saved - begun) / _SHARE)

    def remove(self) -> None:
        """Forget the state: the work is done."""
        self._path.unlink(missing_ok=True)
