"""Recovery of batch-norm statistics against a slow, plain restatement of SRe2L's equation."""

from dataclasses import dataclass, replace
from typing import final

import pytest
import torch
from torch import nn

from dasm import rng
from dasm.errors import ConfigError
from dasm.formation import decode
from dasm.matching import Matching
from dasm.networks import Classifier, Network, predict
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives import sre2l as module
from dasm.objectives.sre2l import SRe2L, of_window, one_of_each, remembered
from dasm.pixels import PixelRule
from dasm.segments import SegmentPlan, decoded, distil_segment
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Recipe, Trainer
from dasm.types import normalise


@final
@dataclass(frozen=True, kw_only=True)
class WithBatchNorm(Network):
    """Two convolutions, each with batch normalisation."""

    width: int = 3

    def build(self, image_shape, num_classes, stream):
        c, h, w = image_shape
        with rng.fork(stream):
            layers = []
            for channels in (c, self.width):
                layers += [nn.Conv2d(channels, self.width, 3, padding=1), nn.BatchNorm2d(self.width), nn.ReLU()]
                layers += [nn.AvgPool2d(2)]
            head = nn.Linear(self.width * (h // 4) * (w // 4), num_classes)
        return Classifier(nn.Sequential(*layers, nn.Flatten()), head)


RECIPE = Recipe(batch_size=16, learning_rate=0.05, augmentation=(), cutmix=0.0)
TRAINER = Trainer(network=WithBatchNorm(), recipe=RECIPE)


def objective(**options):
    return SRe2L(**{"teacher_steps": 4, "augmentation": (), **options})


def synthetic(blobs, per_class=2, dtype=torch.float32, factor=1):
    generator = torch.Generator().manual_seed(1)
    pixels = [torch.rand(per_class, 1, 8, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    return SyntheticBatches(pixels=pixels, factor=factor, mean=blobs.mean, std=blobs.std, stream=3)


def window(blobs, weights=None):
    return RealBatches(data=blobs, weights=torch.ones(len(blobs)) if weights is None else weights, stream=3)


def prepared(sre2l, blobs, trainer=TRAINER):
    return sre2l.prepare(blobs, trainer, 7, Surroundings())


def test_a_window_for_matching_alone_is_refused_where_no_statistics_are_its_own():
    with pytest.raises(ConfigError, match=r"^windowed must be both or initial for sre2l, .*, got 'matching'$"):
        Matching(objective=objective(), trainer=TRAINER, windowed="matching")
    Matching(objective=objective(statistics="window"), trainer=TRAINER, windowed="matching")


def features(network, images):
    """What the two batch-norm layers read of images, and the logits, layer by layer in evaluation mode."""
    body, found = network.body, []
    for first in (0, 4):
        images = nn.functional.conv2d(images, body[first].weight, body[first].bias, padding=1)
        found.append(images)
        norm = body[first + 1]
        mean, variance, scale, shift = (
            t[:, None, None] for t in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        )
        images = ((images - mean) / (variance + norm.eps).sqrt() * scale + shift).clamp(min=0)
        images = images.unfold(2, 2, 2).unfold(3, 2, 2).mean((4, 5))
    return found, images.flatten(1) @ network.head.weight.T + network.head.bias


def plain_loss(network, images, labels, wanted, weight, first):
    read, logits = features(network, images)
    total = -torch.stack([row.log_softmax(0)[label] for row, label in zip(logits, labels, strict=True)]).mean()
    for layer, (x, (means, variances)) in enumerate(zip(read, wanted, strict=True)):
        squares = [torch.zeros((), dtype=x.dtype), torch.zeros((), dtype=x.dtype)]
        for channel in range(x.shape[1]):
            values = x[:, channel].flatten()
            mean = values.sum() / len(values)
            squares[0] = squares[0] + (mean - means[channel]) ** 2
            squares[1] = squares[1] + (((values - mean) ** 2).sum() / len(values) - variances[channel]) ** 2
        total = total + weight * (first if layer == 0 else 1) * (squares[0].sqrt() + squares[1].sqrt())
    return total


@pytest.mark.parametrize("options", [{}, {"statistics_weight": 0.7, "first_layer": 3.0}])
def test_loss_and_pixel_gradient_equal_the_plain_equation(blobs, options):
    sre2l, batches = objective(**options), synthetic(blobs, dtype=torch.float64)
    state = prepared(sre2l, blobs)
    network = state.network.double()
    norms = (network.body[1], network.body[5])
    wanted = [(norm.running_mean, norm.running_var) for norm in norms]
    for number, value in enumerate(sre2l.distances(state, window(blobs), batches, 0, 9)):
        found = torch.autograd.grad(value, list(batches.pixels))
        slow = [p.detach().clone().requires_grad_() for p in batches.pixels]
        images = normalise(torch.stack([p[number] for p in slow]), blobs.mean, blobs.std)
        weight, first = sre2l.statistics_weight, sre2l.first_layer
        expected = plain_loss(network, images, [0, 1, 2], wanted, weight, first)
        torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
        for a, b in zip(found, torch.autograd.grad(expected, slow), strict=True):
            assert (a - b).norm() <= 1e-9 * b.norm() and b.norm() > 0


@pytest.mark.parametrize(("factor", "most", "parts"), [(1, 100, [3]), (1, 2, [2, 1]), (2, 100, [3])])
def test_a_batch_is_one_image_of_every_class(blobs, factor, most, parts, monkeypatch):
    sre2l, batches = objective(classes_per_batch=most), synthetic(blobs, factor=factor)
    seen = []
    loss = SRe2L.loss
    monkeypatch.setattr(SRe2L, "loss", lambda self, n, x, y, w: (seen.append(y.tolist()), loss(self, n, x, y, w))[1])
    state, touched = prepared(sre2l, blobs), torch.zeros(3, 2, 8, 8)
    for value in sre2l.distances(state, window(blobs), batches, 0, 9):
        moved = torch.autograd.grad(value, list(batches.pixels), allow_unused=True)
        for label, gradient in enumerate(moved):
            assert (gradient is not None) == (label in seen[-1])
            if gradient is not None:
                pixels = gradient[:, 0] != 0
                assert pixels.any((1, 2)).sum() == 1 and pixels.sum() <= 64 // factor**2
                touched[label] += pixels
    splits = [list(range(3))[sum(parts[:i]) : sum(parts[: i + 1])] for i in range(len(parts))]
    assert seen == splits * (2 * factor**2)
    assert (touched == 1).all(), "every pixel of every image once"


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_an_image_is_decoded_alone_to_the_same_bits_with_the_same_gradient(factor, monkeypatch):
    """Of 7 x 9 pixels, which the factors do not divide; a class of four images is never decoded whole."""
    generator, seen = torch.Generator().manual_seed(factor), []
    pixels = [torch.rand(4, 2, 7, 9, generator=generator).requires_grad_() for _ in range(3)]
    mean, std = torch.rand(2, 2, generator=generator) + 0.5
    batches = SyntheticBatches(pixels=pixels, factor=factor, mean=mean, std=std, stream=0)
    monkeypatch.setattr(module, "decode", lambda stored, *more: (seen.append(len(stored)), decode(stored, *more))[1])
    ours, theirs = (PixelRule(kind="adam", learning_rate=0.1).start(pixels, 4, 1, std) for _ in range(2))
    for number in range(4 * factor**2):
        push = torch.randn(2, 2, 7, 9, generator=generator)
        alone = one_of_each(batches, range(1, 3), number)
        chosen = torch.tensor([number])
        whole = normalise(torch.cat([decode(images, factor, chosen) for images in pixels[1:]]), mean, std)
        assert torch.equal(alone, whole)
        for optimiser, images in ((ours, alone), (theirs, whole)):
            optimiser.accumulate((images * push).sum())
    for a, b in zip(ours._gradient, theirs._gradient, strict=True):
        assert a.numpy().tobytes() == b.numpy().tobytes()
    assert seen == [1] * (2 * 4 * factor**2) and ours._gradient[1].all()


def test_a_batch_has_one_augmentation(blobs, monkeypatch):
    batches = synthetic(blobs)
    with torch.no_grad():
        for pixels in batches.pixels:
            pixels.copy_(batches.pixels[0][:1].clone())
    seen = []
    loss = SRe2L.loss
    monkeypatch.setattr(SRe2L, "loss", lambda self, n, x, y, w: (seen.append(x.detach()), loss(self, n, x, y, w))[1])
    sre2l = objective(augmentation=("flip", "crop"))
    state = prepared(sre2l, blobs)
    for draw in range(4):
        list(sre2l.distances(state, window(blobs), batches, 0, draw))
    assert all(torch.equal(batch, batch[:1].expand_as(batch)) for batch in seen)
    assert len({batch[0].numpy().tobytes() for batch in seen}) > 4, "but every batch and iteration its own"


def test_the_statistics_of_the_window_are_those_of_its_images(blobs):
    weights = torch.zeros(len(blobs))
    kept = torch.cat([blobs.members(c)[:5] for c in range(3)])
    weights[kept] = 1
    sre2l = objective(statistics="window")
    state = prepared(sre2l, blobs)
    state.network.double()
    data = replace(blobs, images=blobs.images.double() / 255)
    read, _ = features(state.network, data.inputs(kept))
    for (mean, variance), x in zip(of_window(state.network, window(data, weights)), read, strict=True):
        torch.testing.assert_close(mean, x.mean((0, 2, 3)), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(variance, x.var((0, 2, 3), correction=0), rtol=1e-9, atol=1e-12)


def test_a_soft_window_counts_an_image_as_often_as_it_weighs(blobs, monkeypatch):
    monkeypatch.setattr("dasm.objectives.sre2l._READ_BATCH", 7)
    weights = torch.ones(len(blobs))
    weights[::3], weights[1] = 2, 0
    network = prepared(objective(), blobs).network
    soft = of_window(network, window(blobs, weights))
    twice = blobs.subset(torch.cat([torch.nonzero(weights).flatten(), torch.arange(0, len(blobs), 3)]))
    for a, b in zip(soft, of_window(network, window(twice)), strict=True):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-6)


def value_of(sre2l, blobs, weights, trainer=TRAINER):
    state = prepared(sre2l, blobs, trainer)
    return torch.stack([v.detach() for v in sre2l.distances(state, window(blobs, weights), synthetic(blobs), 0, 9)])


def test_the_window_acts_on_the_statistics_only_if_asked(blobs):
    weights = torch.zeros(len(blobs))
    weights[torch.cat([blobs.members(c)[:5] for c in range(3)])] = 1
    ones = torch.ones(len(blobs))
    assert torch.equal(value_of(objective(), blobs, weights), value_of(objective(), blobs, ones))
    windowed = objective(statistics="window")
    assert not torch.equal(value_of(windowed, blobs, weights), value_of(windowed, blobs, ones))
    assert not torch.equal(value_of(windowed, blobs, ones), value_of(objective(), blobs, ones))


def test_the_teacher_is_trained_on_all_real_images_once_and_then_left_alone(blobs, monkeypatch):
    calls = []
    train = Trainer.train
    monkeypatch.setattr(
        Trainer,
        "train",
        lambda self, data, steps, stream: (calls.append((data, steps)), train(self, data, steps, stream))[1],
    )
    sre2l = objective()
    state = prepared(sre2l, blobs)
    for iteration in range(3):
        for value in sre2l.distances(state, window(blobs), synthetic(blobs), iteration, iteration):
            value.backward()
        if iteration == 0:
            before = {name: tensor.clone() for name, tensor in state.network.state_dict().items()}
    assert [(data is blobs, steps) for data, steps in calls] == [(True, 4)]
    assert all(torch.equal(before[name], tensor) for name, tensor in state.network.state_dict().items())
    assert not state.network.training
    assert all(mean.abs().max() > 0 for mean, _ in remembered(state.network)), "it remembers its training"


@pytest.mark.parametrize("statistics", ["all", "window"])
def test_a_run_that_goes_on_has_its_teacher_from_the_checkpoint(blobs, monkeypatch, statistics):
    sre2l = objective(statistics=statistics)
    first = prepared(sre2l, blobs)
    expected = [v.detach() for v in sre2l.distances(first, window(blobs), synthetic(blobs), 0, 9)]
    saved = {name: tensor.clone() for name, tensor in first.tensors().items()}
    monkeypatch.setattr(Trainer, "train", lambda *_: pytest.fail("it is trained already"))
    monkeypatch.setattr("dasm.objectives.sre2l.of_window", lambda *_: pytest.fail("it is known already"))
    second = prepared(sre2l, blobs)
    second.restore(saved)
    found = [v.detach() for v in sre2l.distances(second, window(blobs), synthetic(blobs), 0, 9)]
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert second.tensors().keys() == saved.keys()


def run(blobs, iterations, teacher_steps=4, **more):
    sre2l = objective(augmentation=("flip", "crop"), statistics="window", teacher_steps=teacher_steps)
    matching = Matching(objective=sre2l, trainer=TRAINER, factor=1)
    initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    return matching.optimise(
        initial, blobs, torch.ones(len(blobs)), iterations=iterations, planned_ipc=10, stream=4, **more
    )


def test_an_interrupted_run_ends_with_the_same_bytes(blobs, tmp_path):
    whole, history = run(blobs, 4)
    torch.manual_seed(5)
    for stop in range(1, 4):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            run(blobs, 4, checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        resumed, again = run(blobs, 4, checkpoint=Checkpoint(path, every_seconds=0.0))
        assert torch.equal(resumed, whole) and torch.equal(again, history)


def test_images_come_closer_to_what_the_teacher_remembers(blobs):
    _, history = run(blobs, 20, teacher_steps=16)
    assert history[-3:].mean() < 0.8 * history[:3].mean()


def test_the_pixels_move_by_the_rule_of_the_paper():
    rule = PixelRule(kind="adam", learning_rate=0.25, momentum=0.5, second=0.9, normalised=True, schedule="cosine")
    assert SRe2L().rule == rule
    assert (SRe2L().statistics_weight, SRe2L().first_layer, SRe2L().labels) == (0.01, 10, "hard")


@pytest.mark.parametrize("factor", [1, 2])
def test_soft_labels_are_the_teachers_answers_to_the_frozen_images(blobs, factor):
    sre2l = objective(labels="soft", temperature=2.0)
    segment, _ = distil_segment(
        Matching(objective=sre2l, trainer=TRAINER, factor=factor),
        SegmentPlan(ipc=2, iterations=2),
        blobs,
        (),
        weights=torch.ones(len(blobs)),
        rank=None,
        planned_ipc=2,
        seed=0,
    )
    teacher_stream = rng.derive(rng.derive(rng.derive(0, "segment", 0), "objective"), "teacher")
    (teacher,) = TRAINER.train(blobs, 4, teacher_stream)
    images = decoded([segment], blobs)
    expected = (predict(teacher, images) / 2).softmax(1)
    assert segment.soft_labels.shape == (6 * factor**2, 3)
    torch.testing.assert_close(segment.soft_labels, expected)
    assert torch.equal(images.targets, segment.soft_labels), "and learned with the image they belong to"


def test_labels_are_hard_by_default(blobs):
    sre2l = objective()
    extras = sre2l.finish(prepared(sre2l, blobs), blobs)
    assert (extras.soft_labels, extras.learned_rate) == (None, None)


def test_a_union_with_the_frozen_segments_is_refused_because_every_image_is_made_alone():
    trainer = Trainer(network=ConvNet(norm="batch"), recipe=Recipe())
    with pytest.raises(ConfigError, match="match_prefix must be false for sre2l, which matches every image alone"):
        Matching(objective=SRe2L(), trainer=trainer, match_prefix=True)


def test_a_network_without_batch_norm_is_refused(blobs):
    trainer = Trainer(network=ConvNet(width=2, depth=1), recipe=RECIPE)
    with pytest.raises(ConfigError, match=r"^network: sre2l recovers batch-norm statistics, got a network without any"):
        prepared(objective(), blobs, trainer)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("teacher_steps", 0),
        ("statistics_weight", -1.0),
        ("first_layer", -1.0),
        ("classes_per_batch", 0),
        ("temperature", 0.0),
    ],
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        SRe2L(**{option: value})
