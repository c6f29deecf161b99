"""Expert trajectories on disk: one safetensors file per expert, read only where somebody looks."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import final

from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from dasm.errors import ConfigError
from dasm.storage.files import write_atomically

_KEY = "weights"


def write_trajectories(folder: Path, trajectories: Iterable[Float[Tensor, "e p"]]) -> int:
    """Write each trajectory as `e<number>.safetensors` as soon as it comes, and return how many came."""
    count = 0
    for trajectory in trajectories:
        tensors = {_KEY: trajectory.cpu().contiguous()}
        write_atomically(folder / f"e{count}.safetensors", partial(save_file, tensors))
        count += 1
    return count


@final
class Trajectories(Sequence[Tensor]):
    """What `write_trajectories` wrote, expert by expert.

    A trajectory is mapped from its file, so only the rows in use come into memory: a hundred experts of the field's
    ConvNet are 6.5 GB on disk. Copy a row before computing with it: kernels may sum a mapped one in another order.
    """

    def __init__(self, folder: Path) -> None:
        """Find the files; none is opened yet.

        Raises:
            ConfigError: there are none.
        """
        self._files = sorted(folder.glob("e*.safetensors"), key=lambda file: int(file.stem.removeprefix("e")))
        if not self._files:
            raise ConfigError(f"{folder}: must hold expert trajectories, got none")

    def __len__(self) -> int:
        """Return the number of experts."""
        return len(self._files)

    def __getitem__(self, index: int) -> Float[Tensor, "e p"]:  # type: ignore[override]
        """Return the trajectory of one expert, mapped from its file.

        Raises:
            ConfigError: the file is not one that `write_trajectories` wrote.
        """
        file = self._files[index]
        try:
            with safe_open(file, framework="pt") as tensors:
                found: Tensor = tensors.get_tensor(_KEY)
        except SafetensorError as error:
            raise ConfigError(f"{file}: must be an expert trajectory ({error})") from error
        return found
