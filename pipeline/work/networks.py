"""The networks of a state, as the study's evaluators describe them."""

from collections.abc import Iterable
from pathlib import Path

from torch import Tensor

from dasm.evaluators import Evaluators
from dasm.networks import Classifier
from dasm.storage.networks import read_networks as read
from dasm.types import LabelledImages


def read_networks(folder: Path, evaluators: Evaluators, real: LabelledImages) -> list[list[Classifier]]:
    """Read the snapshots of every network of a state, on the device of the real set."""
    return read(
        folder,
        lambda: evaluators.trainer.start(real, 0).network,
        evaluators.networks,
        evaluators.snapshots,
    )


def tensors_of(networks: Iterable[Classifier]) -> list[Tensor]:
    """Return all weights and statistics of some networks, in order."""
    return [tensor for network in networks for tensor in network.state_dict().values()]
