"""Segments: distil one, and join those there are."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, final

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from dasm import rng
from dasm.errors import ConfigError, at_least, require, within
from dasm.formation import decode_set, decoded_count, mosaic
from dasm.initial import choose_sources
from dasm.matching import Matching
from dasm.objectives import Surroundings
from dasm.storage.checkpoint import Checkpoint
from dasm.types import LabelledImages, Segment, join
from dasm.windows import edges


@final
@dataclass(frozen=True, kw_only=True)
class SegmentPlan:
    """Size and effort of one segment.

    Attributes:
        ipc: stored images per class, >= 1.
        iterations: pixel updates of every class, in [0, 1e8]; at most so many if the matching has a `patience`.
    """

    ipc: int
    iterations: int

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        at_least(self, 1, "ipc")
        within(self, "[0, 1e8]", "iterations")


def distil_segment(
    matching: Matching,
    plan: SegmentPlan,
    real: LabelledImages,
    prefix: Sequence[Segment],
    *,
    weights: Float[Tensor, " n"],
    rank: Float[Tensor, " n"] | None,
    planned_ipc: int,
    seed: int,
    experts: Sequence[Float[Tensor, "e p"]] = (),
    checkpoint: Checkpoint | None = None,
    track: Callable[[range], Iterable[int]] = iter,
) -> tuple[Segment, Float[Tensor, " i"]]:
    """Distil the segment that follows `prefix` and freeze it as 8-bit images.

    Args:
        matching: how.
        plan: how much.
        real: n real images.
        prefix: the segments so far; their number picks the stream, and the images they started from are passed over.
        weights: of the window, one per real image.
        rank: within-class rank fractions in [0, 1); None if nothing has been scored, and then all weights are equal.
        planned_ipc: images per class of the whole set.
        seed: root seed.
        experts: weights of expert networks along their training, for objectives that need them.
        checkpoint: where to continue from and save to.
        track: wraps the iterations still to do, to show progress.

    Returns:
        The segment and the objective's value at every iteration that was done.

    Raises:
        ConfigError: a class or its window has too few images to start from; a frozen segment that is matched too has
            another factor.
        FloatingPointError: a distance or a pixel is not finite.
    """
    k = len(prefix)
    sources = _sources(matching, plan, real, prefix, weights, rank, rng.derive(seed, "initial"))
    initial = torch.stack([mosaic(real.pixels(row.to(real.labels.device)), matching.factor) for row in sources])
    stream = rng.derive(seed, "segment", k)
    state = matching.prepare(matching.learnt(real, weights), stream, _around(matching, prefix, real, experts))
    pixels, history = matching.optimise(
        initial,
        real,
        matching.matched(weights),
        iterations=plan.iterations,
        planned_ipc=planned_ipc,
        stream=stream,
        frozen=_by_class(matching.factor, prefix, real) if prefix and matching.match_prefix else (),
        state=state,
        checkpoint=checkpoint,
        track=track,
    )
    lower, upper = bounds(weights, rank, real)
    made = {"index": k, "factor": matching.factor, "iterations": len(history)}
    segment = stored_segment(freeze(pixels.flatten(0, 1)), sources, lower=lower, upper=upper, **made)
    extras = matching.objective.finish(state, decoded([segment], real))
    return replace(segment, soft_labels=extras.soft_labels, learned_rate=extras.learned_rate), history


def _around(
    matching: Matching, prefix: Sequence[Segment], real: LabelledImages, experts: Sequence[Float[Tensor, "e p"]]
) -> Surroundings:
    # Decoded they are many times as large, up to thirty.
    asked = bool(prefix) and matching.objective.asks_prefix
    return Surroundings(prefix=decoded(prefix, real) if asked else None, experts=experts)


def bounds(weights: Float[Tensor, " n"], rank: Float[Tensor, " n"] | None, real: LabelledImages) -> tuple[float, float]:
    """Return the rank fractions between which a window lies; 0 and 1 where nothing has been scored."""
    return edges(weights.cpu(), rank, real.labels.cpu()) if rank is not None else (0.0, 1.0)


def _sources(
    matching: Matching,
    plan: SegmentPlan,
    real: LabelledImages,
    prefix: Sequence[Segment],
    weights: Float[Tensor, " n"],
    rank: Float[Tensor, " n"] | None,
    stream: int,
) -> Int64[Tensor, "k t"]:
    used = torch.cat([segment.sources.flatten() for segment in prefix]) if prefix else torch.zeros(0, dtype=torch.long)
    start = torch.ones_like(weights) if matching.windowed == "matching" else weights
    return choose_sources(real, start, rank, decoded_count(plan.ipc, matching.factor), used, stream)


def stored_segment(
    images: UInt8[Tensor, "n c h w"],
    sources: Int64[Tensor, "k t"],
    *,
    index: int,
    factor: int,
    lower: float,
    upper: float,
    iterations: int,
) -> Segment:
    """Return a segment of images stored class by class that were initialised from `sources`.

    Source t * m + i of a class is tile t of its stored image i, as `mosaic` lays them out.
    """
    num_classes, ipc = len(sources), len(images) // len(sources)
    return Segment(
        images=images,
        labels=torch.arange(num_classes).repeat_interleave(ipc),
        index=index,
        factor=factor,
        sources=sources.unflatten(1, (-1, ipc)).transpose(1, 2).flatten(0, 1),
        lower=lower,
        upper=upper,
        iterations=iterations,
    )


def _by_class(factor: int, prefix: Sequence[Segment], real: LabelledImages) -> list[Float[Tensor, "p c h w"]]:
    other = next((segment.factor for segment in prefix if segment.factor != factor), None)
    require(other is None, f"factor must be {other} with match_prefix, as in the frozen segments", factor)
    frozen = stored(prefix, real)
    return [frozen.pixels(frozen.members(label)) for label in range(real.num_classes)]


def freeze(pixels: Float[Tensor, "*n c h w"]) -> UInt8[Tensor, "*n c h w"]:
    """Return pixels in [0, 1] as 8-bit images, rounded to the nearest level."""
    return (pixels * 255).round().to(torch.uint8)


def stored(segments: Sequence[Segment], real: LabelledImages) -> LabelledImages:
    """Return the stored images of the segments as one set, read with the statistics of `real`, on its device."""
    if not segments:
        raise ConfigError("segments: must be at least one, got none")
    return LabelledImages(
        images=torch.cat([segment.images for segment in segments]),
        labels=torch.cat([segment.labels for segment in segments]),
        class_names=real.class_names,
        mean=real.mean.cpu(),
        std=real.std.cpu(),
    ).to(real.labels.device)


def decoded(segments: Sequence[Segment], real: LabelledImages) -> LabelledImages:
    """Return all training images of the segments, each decoded with its own factor, with their soft labels."""
    return join(decoded_parts(segments, real))


def decoded_parts(segments: Sequence[Segment], real: LabelledImages) -> list[LabelledImages]:
    """Return the training images of each segment, for those who learn them in their order."""
    return _labelled(segments, [decode_set(stored([segment], real), segment.factor) for segment in segments])


def shown_parts(
    segments: Sequence[Segment], real: LabelledImages, images: Literal["decoded", "stored"]
) -> list[LabelledImages]:
    """Return what evaluators learn of each segment (A15): its training images, or its stored images as they are."""
    if images == "decoded":
        return decoded_parts(segments, real)
    return _labelled(segments, [stored([segment], real) for segment in segments])


def _labelled(segments: Sequence[Segment], parts: list[LabelledImages]) -> list[LabelledImages]:
    if all(segment.soft_labels is None for segment in segments):
        return parts
    return [replace(part, targets=_targets(segment, part)) for segment, part in zip(segments, parts, strict=True)]


def _targets(segment: Segment, images: LabelledImages) -> Float[Tensor, "n k"]:
    # In a set where other segments have soft labels, hard ones are those that leave no doubt.
    if segment.soft_labels is None:
        return F.one_hot(images.labels, images.num_classes).float()
    # One per training image; a stored image that is learnt whole has the mean of its tiles.
    return segment.soft_labels.to(images.labels.device).unflatten(0, (-1, len(images))).mean(0)
