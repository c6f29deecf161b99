"""What every objective has to keep to, by the files of the folder.

A new one joins by itself, with small numbers and the options that it calls its `trial`. A row in `CASES` is for one
that wants another network or rate, and says how far it gets.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace

import pytest
import torch
from torch.nn.utils import parameters_to_vector

from dasm import rng
from dasm.matching import Matching
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Objective, Surroundings
from dasm.plugins import build, find
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Trainer
from dasm.types import LabelledImages
from tests.handmade import listed


@dataclass(frozen=True, kw_only=True)
class Case:
    """Cheap options of an objective, what it asks for, and how far it gets in a few iterations.

    `iterations` at `rate` bring the mean of the last fifth below `falls_to` times that of the first.
    """

    name: str
    options: Mapping[str, object] = field(default_factory=dict)
    surroundings: Callable[[Trainer, LabelledImages], Surroundings] = lambda trainer, real: Surroundings()
    iterations: int = 20
    rate: float | None = None
    falls_to: float = 0.9
    network: Mapping[str, object] = field(default_factory=dict)

    def suits(self, trainer: Trainer) -> Trainer:
        """The trainer with what the objective wants of its network."""
        return replace(trainer, network=replace(trainer.network, **self.network))

    @property
    def objective(self) -> Objective:
        return build(Objective, {"name": self.name, **self.options}, "objective")


_LOOPS = {"real_batch": 8, "outer": 4, "inner": 1}
_ONE = ["one", "color", "crop", "cutout", "scale", "rotate"]
CASES = {
    "gradient": Case(name="gradient", options={"real_batch": 8, "inner_iterations": 4, "network_images": 16}, rate=1.0),
    "dc": Case(name="dc", options=_LOOPS),
    "dsa": Case(name="dsa", options={**_LOOPS, "augmentation": _ONE}),
    "dm": Case(name="dm", options={"real_batch": 8, "augmentation": _ONE}),
    "cafe": Case(name="cafe", options={"real_batch": 8, "test_batch": 4, "checks": 2, "most_epochs": 2}),
    "sre2l": Case(name="sre2l", options={"teacher_steps": 40, "augmentation": []}, network={"norm": "batch"}, rate=0.1),
    "ncfm": Case(name="ncfm", options={"real_batch": 8, "frequencies": 32, "networks": 2, "epochs": 2}, rate=0.02),
}
REPRESENTATIVE = {"sampler": "representative", "refresh": 3}
NAMES = listed("objectives")
# Of options whose names end or begin with these words, for an objective without a row.
SMALL = {"steps": 20, "epochs": 2, "networks": 2, "iterations": 4, "updates": 4, "batch": 8, "images": 16}


def wandering(trainer: Trainer, real: LabelledImages, epochs: int) -> Surroundings:
    """Experts that have seen nothing, but come from somewhere and go somewhere."""
    shape, generator = real.image_shape, torch.Generator().manual_seed(3)
    found = []
    for stream in range(2):
        start = parameters_to_vector(trainer.network.build(shape, real.num_classes, stream).parameters()).detach()
        moves = torch.randn(epochs, len(start), generator=generator) * 0.02
        found.append(torch.cat([start[None], moves]).cumsum(0))
    return Surroundings(experts=found)


def unknown(name: str) -> Case:
    """A row for an objective that nobody has written one for: what it says itself, and small numbers."""
    kind = find(Objective, name, "objective")
    numbers = {field.name: field.default for field in fields(kind) if type(field.default) is int}
    words = {option: [word for word in option.split("_") if word in SMALL] for option in numbers}
    small = {option: min([numbers[option], *map(SMALL.get, words[option])]) for option in numbers if words[option]}
    case = Case(name=name, options={**small, **kind.trial}, falls_to=1.0)
    if not case.objective.needs_experts:
        return case
    epochs = case.objective.epochs_needed
    return replace(case, surroundings=lambda trainer, real: wandering(trainer, real, epochs))


def parameters() -> list:
    rows = [pytest.param(case, id=label) for label, case in CASES.items() if case.name in NAMES]
    alone = [name for name in NAMES if name not in {case.name for case in CASES.values()}]
    return rows + [pytest.param(unknown(name), id=name) for name in alone]


every_case = pytest.mark.parametrize("case", parameters())


@pytest.mark.parametrize("name", NAMES)
def test_every_objective_can_be_tried_without_a_row(name):
    case = unknown(name)
    assert isinstance(case.objective, Objective)
    assert all(case.options[option] <= 20 for option in case.options if option.endswith(("steps", "batch", "epochs")))


def first() -> torch.Tensor:
    return torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def run(case, trainer, blobs, iterations, *, initial=None, stream=4, **more):
    trainer = case.suits(trainer)
    matching = Matching(objective=case.objective, trainer=trainer, factor=1, learning_rate=case.rate)
    return matching.optimise(
        first() if initial is None else initial,
        blobs,
        torch.ones(len(blobs)),
        iterations=iterations,
        planned_ipc=10,
        stream=stream,
        state=matching.prepare(blobs, stream, case.surroundings(trainer, blobs)),
        **more,
    )


@every_case
def test_the_result_depends_on_the_stream_alone(case, trainer, blobs):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    pixels, history = run(case, trainer, blobs, 5)
    assert torch.equal(torch.get_rng_state(), state), "the global stream is left alone"
    torch.manual_seed(123)
    again, history_again = run(case, trainer, blobs, 5)
    assert torch.equal(pixels, again) and torch.equal(history, history_again)
    other, _ = run(case, trainer, blobs, 1, stream=5)
    same, _ = run(case, trainer, blobs, 1)
    assert not torch.equal(same, other)


@every_case
def test_every_image_of_every_class_has_a_finite_gradient(case, trainer, blobs):
    leaves = [images.clone().requires_grad_() for images in first()]
    real = RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=0)
    synthetic = SyntheticBatches(pixels=leaves, factor=1, mean=blobs.mean, std=blobs.std, stream=0)
    objective = case.objective
    trainer = case.suits(trainer)
    state = objective.prepare(blobs, trainer, 0, case.surroundings(trainer, blobs))
    for iteration in range(6):
        gradients = [torch.zeros_like(images) for images in leaves]
        for value in objective.distances(state, real, synthetic, iteration, rng.derive(0, iteration)):
            assert value.shape == () and value.isfinite()
            # At once: networks may learn after the last value.
            for gradient, part in zip(gradients, torch.autograd.grad(value, leaves, allow_unused=True), strict=True):
                gradient += 0 if part is None else part
        for gradient in gradients:
            assert gradient.isfinite().all()
            assert (gradient.abs().amax(dim=(1, 2, 3)) > 0).all()


@every_case
def test_classes_may_be_uneven_and_smaller_than_a_batch(case, trainer, blobs):
    rows = torch.cat([blobs.members(label)[:size] for label, size in enumerate((16, 5, 2))])
    pixels, history = run(case, trainer, blobs.subset(rows), 3)
    assert history.isfinite().all()
    assert (pixels != first()).flatten(1).any(1).all(), "every class has moved"


@every_case
def test_a_few_iterations_bring_the_sets_closer(case, trainer, blobs):
    pixels, history = run(case, trainer, blobs, case.iterations)
    part = case.iterations // 5
    assert history[-part:].mean() < case.falls_to * history[:part].mean()
    assert 0 <= pixels.min() <= pixels.max() <= 1


@every_case
def test_pixels_that_are_no_numbers_are_reported(case, trainer, blobs):
    initial = first()
    initial[1, 0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="iteration 0: the distance is nan"):
        run(case, trainer, blobs, 2, initial=initial)


def representative(name: str) -> Case:
    return replace(CASES[name], options={**CASES[name].options, **REPRESENTATIVE})


@pytest.mark.deep
@pytest.mark.parametrize(
    "case", [*parameters(), *(pytest.param(representative(n), id=f"{n}, DREAM") for n in ("gradient", "dc", "dsa"))]
)
def test_an_interrupted_run_ends_with_the_same_bytes(case, trainer, blobs, tmp_path):
    """Stopped in the middle of a network's life, and where the next one is drawn."""
    whole, history = run(case, trainer, blobs, 6)
    for stop in (2, 4):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            run(case, trainer, blobs, 6, checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        resumed, again = run(case, trainer, blobs, 6, checkpoint=Checkpoint(path, every_seconds=0.0))
        assert torch.equal(resumed, whole) and torch.equal(again, history)


@every_case
def test_images_outside_the_window_are_matched_with_nothing(case, trainer, blobs):
    """They may change without a trace, but for networks that learn from all real images; these can be told not to."""
    learns_from = "window" if case.objective.learns_from_real else "all"
    weights = torch.zeros(len(blobs))
    for c in range(3):
        weights[blobs.members(c)[:8]] = 1
    other = blobs.images.clone()
    other[weights == 0] = 255 - other[weights == 0]
    results = []
    for images in (blobs.images, other):
        changed = type(blobs)(
            images=images, labels=blobs.labels, class_names=blobs.class_names, mean=blobs.mean, std=blobs.std
        )
        matching = Matching(
            objective=case.objective,
            trainer=case.suits(trainer),
            factor=1,
            learning_rate=case.rate,
            learns_from=learns_from,
        )
        pixels, _ = matching.optimise(
            first(),
            changed,
            weights,
            iterations=5,
            planned_ipc=10,
            stream=0,
            state=matching.prepare(matching.learnt(changed, weights), 0, case.surroundings(trainer, changed)),
        )
        results.append(pixels)
    assert torch.equal(*results)
