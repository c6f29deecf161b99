"""Trained networks on disk: one safetensors file per snapshot."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.storage.files import write_atomically


def write_networks(folder: Path, networks: Sequence[Sequence[Classifier]]) -> None:
    """Write the snapshots of each network as `e<network>-t<snapshot>.safetensors`."""
    for j, snapshots in enumerate(networks):
        for t, snapshot in enumerate(snapshots):
            state = {name: tensor.cpu().contiguous() for name, tensor in snapshot.state_dict().items()}
            write_atomically(folder / f"e{j}-t{t}.safetensors", partial(save_file, state))


def read_networks(
    folder: Path, build: Callable[[], Classifier], networks: int, snapshots: int
) -> list[list[Classifier]]:
    """Read what `write_networks` wrote into classifiers made by `build`, in evaluation mode.

    Raises:
        ConfigError: a file is not there, is damaged, or holds another architecture.
    """
    return [[_read(folder / f"e{j}-t{t}.safetensors", build()) for t in range(snapshots)] for j in range(networks)]


def _read(path: Path, network: Classifier) -> Classifier:
    try:
        network.load_state_dict(load_file(path))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: must be a trained network, got none") from error
    except (SafetensorError, RuntimeError) as error:
        raise ConfigError(f"{path}: must be a trained network ({str(error).splitlines()[0]})") from error
    return network.eval()
