"""Several networks of one architecture, trained side by side as one network with one more dimension.

Each has its own batches, augmentation and CutMix from its own stream, as if it were alone. A GPU is not filled by one
network of this field. On a CPU core, three networks took 0.55 to 0.7 of the loop's time at 8 x 8 pixels and width 32,
and twice its time at 32 x 32 and width 128: the loop, whose bits do not depend on the company, is the rule there.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from dasm.errors import ConfigError
from dasm.machine import counts
from dasm.machine.flops import watched
from dasm.machine.precision import answers
from dasm.networks import Classifier
from dasm.steps.draws import in_blocks
from dasm.steps.stepper import Stepper
from dasm.train import Trainer, shares
from dasm.types import LabelledImages

# Layers that torch gives one more dimension on every device, and that keep no statistics of a batch. Attention is not
# among them, nor are layer norms over permuted channels (ConvNeXt): torch would take one network after another.
_BATCHED = frozenset(
    {
        nn.AdaptiveAvgPool2d,
        nn.AvgPool2d,
        nn.Conv2d,
        nn.Flatten,
        nn.GroupNorm,
        nn.Identity,
        nn.LayerNorm,
        nn.Linear,
        nn.MaxPool2d,
        nn.ReLU,
    }
)

#: `auto` is `together` on a GPU wherever `fit` says so, and `loop` elsewhere.
Training = Literal["auto", "loop", "together"]


def train_all(
    trainer: Trainer,
    data: LabelledImages,
    steps: int,
    streams: Sequence[int],
    snapshots: int = 1,
    *,
    before: Sequence[LabelledImages] = (),
    starts: Sequence[Classifier | None] | None = None,
    training: Training = "auto",
    most: int | None = None,
) -> list[list[Classifier]]:
    """Do what `Trainer.train` does, once for every stream.

    Args:
        trainer: architecture and recipe.
        data: as for `Trainer.train`.
        steps: likewise, of every network.
        streams: of each network, at least one; together or not, it draws the same, and the results are the same on one
            device up to the order of sums.
        snapshots: as for `Trainer.train`.
        before: likewise.
        starts: of each network, or None.
        training: one after another or side by side, `most` at once.
        most: by default all of them; on a GPU as many as its memory holds (`at_once`).

    Returns:
        For each network its snapshots, the trained one last.

    Raises:
        ConfigError: they cannot be trained together, and must be.
    """
    starts = starts or [None] * len(streams)
    if training == "auto":
        training = "together" if data.labels.is_cuda and len(streams) > 1 and fit(trainer, data) else "loop"
    if training == "loop":
        return [
            trainer.train(data, steps, stream, snapshots, before=before, start=start)
            for stream, start in zip(streams, starts, strict=True)
        ]
    if not fit(trainer, data):
        raise ConfigError(
            "training: together needs a network of convolutions, linear layers and norms of single images (try auto)"
        )
    if most is None and data.labels.is_cuda:
        one = data.mean.new_zeros(1, *data.image_shape)
        most = at_once(trainer, data.num_classes, one, torch.cuda.mem_get_info(one.device)[1])
    most = most or len(streams)
    kept = []
    for first in range(0, len(streams), most):
        group = slice(first, first + most)
        networks = [trainer.start(data, stream).network.train() for stream in streams[group]]
        for network, start in zip(networks, starts[group], strict=True):
            if start is not None:
                network.load_state_dict(start.state_dict())
        kept += _together(trainer, networks, data, steps, streams[group], snapshots, before)
    return kept


def fit(trainer: Trainer, data: LabelledImages) -> bool:
    """Return whether networks can be trained together: `_BATCHED` layers alone, and steps that are drawn in blocks."""
    network = trainer.network.build(data.image_shape, data.num_classes, 0)
    leaves = [part for part in network.modules() if not any(part.children()) and type(part) is not nn.Sequential]
    return in_blocks(trainer.recipe) and all(type(leaf) in _BATCHED for leaf in leaves)


def at_once(trainer: Trainer, num_classes: int, one: Float[Tensor, "1 c h w"], memory: int) -> int:
    """Return how many networks may be trained at once on images like `one` on a GPU of so many bytes.

    What a layer puts out is kept for the way back, and its gradient is as large; three quarters of the memory stay for
    everything else. It does not matter how much is free, because last bits depend on the company. Not measured.
    """
    network = trainer.network.build((one.shape[1], one.shape[2], one.shape[3]), num_classes, 0).to(one.device)
    with counts.aside(), watched(network) as seen, torch.no_grad():
        network(one)
    return max(1, int(memory / 4 / (2 * seen.outputs * trainer.recipe.batch_size)))


def _together(
    trainer: Trainer,
    networks: Sequence[Classifier],
    data: LabelledImages,
    steps: int,
    streams: Sequence[int],
    snapshots: int,
    before: Sequence[LabelledImages],
) -> list[list[Classifier]]:
    parameters, buffers = stack_module_state(list(networks))
    one, recipe = networks[0], trainer.recipe

    def alone(weights: dict[str, Tensor], rest: dict[str, Tensor], images: Tensor) -> Tensor:
        return functional_call(one, (weights, rest), (images,))

    def logits(images: Tensor) -> Tensor:
        return answers(lambda stacked: vmap(alone)(parameters, buffers, stacked), images, recipe.precision)

    stepper = Stepper(logits, list(parameters.values()), list(buffers.values()), recipe)
    kept: list[list[Classifier]] = [[] for _ in streams]
    for part in shares(steps, snapshots):
        for stage, run in trainer.runs((*before, data), part, steps):
            stepper.run(stage, run.start, len(run), streams, recipe.rate(run.start, steps))
        for number in range(len(streams)):
            weights = {name: value[number].detach() for name, value in (parameters | buffers).items()}
            kept[number].append(trainer.copy(weights, data))
    return kept
