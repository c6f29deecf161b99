"""What training steps draw: the images of a batch, their augmentation, and CutMix (arXiv 1905.04899).

Every draw is a function of a stream and the number of a step. On a CPU each step has generators of its own. On a GPU,
where small draws would cost more than the step, `BLOCK` steps are drawn at once, and nothing waits for the device.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import final

import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from dasm import rng
from dasm.augment import Operation, Transform, draw
from dasm.recipe import Recipe
from dasm.steps.blocks import brought
from dasm.steps.orders import epoch_batch, mix
from dasm.types import LabelledImages

BLOCK = 32

_PLAIN = ("indices", "partners", "box", "share")


@final
@dataclass(frozen=True, kw_only=True)
class Plan:
    """What draws depend on besides stream and step.

    Attributes:
        count: images of the set.
        batch_size: images of a step, <= count; the last one of an epoch may have fewer.
        image_shape: channels, height, width.
        augmentation: operations.
        cutmix: share of the batches.
        device: of the draws.
        dtype: torch's default one, in which they are made.
    """

    count: int
    batch_size: int
    image_shape: tuple[int, int, int]
    augmentation: tuple[Operation, ...]
    cutmix: float
    device: str
    dtype: torch.dtype

    @staticmethod
    def of(data: LabelledImages, recipe: Recipe) -> "Plan":
        """Return the plan of learning from a set."""
        return Plan(
            count=len(data),
            batch_size=min(recipe.batch_size, len(data)),
            image_shape=data.image_shape,
            augmentation=recipe.augmentation,
            cutmix=recipe.cutmix,
            device=str(data.labels.device),
            dtype=torch.get_default_dtype(),
        )

    def size(self, step: int) -> int:
        """Return the number of images of a step."""
        position = step % -(-self.count // self.batch_size)
        return min(self.batch_size, self.count - position * self.batch_size)


def in_blocks(recipe: Recipe) -> bool:
    """Return whether many steps can be drawn at once: `one` picks another operation at every step, on the host."""
    return "one" not in recipe.augmentation


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """What s steps of g networks draw, n images each; the last images of a smaller batch are there only to fill it.

    Attributes:
        indices: of the images in the set.
        transform: of s * g * n images, row by row.
        partners: position in the batch of the image that CutMix pastes from.
        box: top, bottom, left and right of what is pasted; empty without CutMix.
        share: of the own class, in [0, 1].
    """

    indices: Int64[Tensor, "s g n"]
    transform: Transform
    partners: Int64[Tensor, "s g n"]
    box: Int64[Tensor, "s g 4"]
    share: Float64[Tensor, "s g"]

    def tensors(self) -> list[Tensor]:
        """Return all of them, in one order."""
        drawn = [getattr(self.transform, field.name) for field in fields(self.transform)]
        return [self.indices, self.partners, self.box, self.share, *(x for x in drawn if isinstance(x, Tensor))]

    def copy(self) -> "Draws":
        """Return the same in memory of its own."""
        every = torch.arange(self.indices.numel(), device=self.indices.device)
        own = {name: getattr(self, name).clone() for name in _PLAIN}
        return replace(self, transform=self.transform.at(every), **own)

    def batch(
        self, data: LabelledImages, row: Int64[Tensor, " 1"], n: int
    ) -> tuple[Float[Tensor, "g n c h w"], tuple[Tensor, Tensor], Tensor]:
        """Return the batches of one step, of n images each; nothing waits for the device.

        Args:
            data: what `indices` point into.
            row: which step, as a tensor, so that a captured graph can be told another one.
            n: images, no more than there are.

        Returns:
            The images, the answers to them and to their partners (each g * n rows), and the share of the former (g).
        """
        _, g, most = self.indices.shape
        each = torch.arange(g, device=row.device)[:, None]
        places = torch.arange(n, device=row.device)
        chosen = self.indices[row][0, :, :n].flatten()
        rows = row * (g * most) + (each * most + places).flatten()
        images = self.transform.at(rows)(data.inputs(chosen))
        partners = (self.partners[row][0, :, :n] + each * n).flatten()
        top, bottom, left, right = self.box[row][0].repeat_interleave(n, 0)[:, :, None, None].unbind(1)
        down, across = (torch.arange(side, device=row.device) for side in images.shape[2:])
        inside = (down[:, None] >= top) & (down[:, None] < bottom) & (across >= left) & (across < right)
        mixed = torch.where(inside[:, None], images[partners], images)
        labels = data.answers(chosen)
        return mixed.unflatten(0, (g, n)), (labels, labels[partners]), self.share[row][0].to(images.dtype)


def block(plan: Plan, number: int, streams: Sequence[int]) -> Draws:
    """Return the draws of steps `number` * BLOCK and following, one network per stream; not for `one`."""
    each = [_of_one(plan, number, stream) for stream in streams]
    if len(each) == 1:
        return each[0]
    together = {name: torch.cat([getattr(one, name) for one in each], 1) for name in _PLAIN}
    return Draws(transform=_joined([one.transform for one in each], BLOCK), **together)


@lru_cache(maxsize=16)
def _of_one(plan: Plan, number: int, stream: int) -> Draws:
    steps, n = range(number * BLOCK, (number + 1) * BLOCK), plan.batch_size
    sizes = torch.tensor([plan.size(step) for step in steps])
    filled = torch.arange(n) % sizes[:, None]
    chosen = [epoch_batch(plan.count, n, step, stream)[row] for step, row in zip(steps, filled, strict=True)]
    if plan.device == "cpu":
        return _step_by_step(plan, steps, stream, filled, torch.stack(chosen))
    indices, sizes = (brought(x, torch.device(plan.device)) for x in (torch.stack(chosen), sizes))
    return at_once(plan, rng.generator(stream, "block", number, device=plan.device), indices, sizes)


def _step_by_step(plan: Plan, steps: range, stream: int, filled: Tensor, indices: Tensor) -> Draws:
    transforms, partners, boxes, shares = [], [], [], []
    for step, row in zip(steps, filled, strict=True):
        n = plan.size(step)
        drawn = draw(plan.augmentation, n, plan.image_shape, rng.generator(stream, "batch", step))
        transforms.append(drawn.at(row))
        own, box, share = mix(n, plan.image_shape[1:], plan.cutmix, rng.generator(stream, "cutmix", step))
        partners.append(own[row])
        boxes.append(box or (0, 0, 0, 0))
        shares.append(share)
    return Draws(
        indices=indices[:, None],
        transform=_joined(transforms),
        partners=torch.stack(partners)[:, None],
        box=torch.tensor(boxes)[:, None],
        share=torch.tensor(shares, dtype=torch.float64)[:, None],
    )


def at_once(plan: Plan, generator: torch.Generator, indices: Int64[Tensor, "s n"], sizes: Int64[Tensor, " s"]) -> Draws:
    """Return draws of the same distribution for steps of the given images and sizes, from one generator."""
    (s, n), device = indices.shape, indices.device
    transform = draw(plan.augmentation, s * n, plan.image_shape, generator)
    gate, keep, *middle = torch.rand(4, s, generator=generator, device=device, dtype=torch.float64)
    half, boxes = (1 - keep).sqrt() / 2, []
    for side, place in zip(plan.image_shape[1:], middle, strict=True):
        boxes += [(side * (place + sign * half)).trunc().clamp(0, side).long() for sign in (-1, 1)]
    box = torch.stack(boxes, 1) * (gate < plan.cutmix)[:, None]
    area = (box[:, 1] - box[:, 0]) * (box[:, 3] - box[:, 2])
    # An order of random keys is a random permutation; what only fills a batch comes last.
    fill = torch.arange(n, device=device) >= sizes[:, None]
    keys = torch.rand(s, n, generator=generator, device=device) + fill
    share = 1 - area.double() / (plan.image_shape[1] * plan.image_shape[2])
    order = keys.argsort(1)
    return Draws(
        indices=indices[:, None], transform=transform, partners=order[:, None], box=box[:, None], share=share[:, None]
    )


def _joined(transforms: Sequence[Transform], rows: int = 1) -> Transform:
    # One after another, or row by row.
    first = transforms[0]
    values = {field.name: [getattr(one, field.name) for one in transforms] for field in fields(first)}
    tensors = {name: found for name, found in values.items() if isinstance(found[0], Tensor)}
    cut = {name: [value.unflatten(0, (rows, -1)) for value in found] for name, found in tensors.items()}
    return replace(first, **{name: torch.cat(found, 1).flatten(0, 1) for name, found in cut.items()})  # type: ignore[arg-type]
