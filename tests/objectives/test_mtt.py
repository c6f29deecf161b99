"""Trajectory matching against a slow, plain restatement of MTT's equation, and one graph of all steps against none.

Labels that are learnt: `test_mtt_labels.py`.
"""

import math
import weakref
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dasm import rng
from dasm.augment import draw as draw_transform
from dasm.errors import ConfigError
from dasm.matching import Matching
from dasm.networks import Classifier
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objective_parts.unroll import Journey
from dasm.objectives import Surroundings
from dasm.objectives.mtt import MTT
from dasm.pixels import PixelRule
from dasm.segments import SegmentPlan, distil_segment
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Recipe, Trainer, epoch_batch
from dasm.types import normalise
from tests.handmade import with_batch_norm

SMALL = Trainer(network=ConvNet(width=3, depth=2), recipe=Recipe(batch_size=16))
SIZE = sum(p.numel() for p in SMALL.network.build((1, 8, 8), 3, 0).parameters())


def walks(count=2, rows=6, dtype=torch.float32, size=SIZE, step=0.02):
    """Experts that wander at random from sensible weights."""
    generator = torch.Generator().manual_seed(3)
    found = []
    for number in range(count):
        start = nn.utils.parameters_to_vector(SMALL.network.build((1, 8, 8), 3, number).parameters()).detach()
        moves = torch.randn(rows, size, generator=generator, dtype=dtype) * step
        moves[0] = start
        found.append(moves.cumsum(0))
    return found


def synthetic(blobs, per_class=2, dtype=torch.float32, **more):
    generator = torch.Generator().manual_seed(1)
    pixels = [torch.rand(per_class, 1, 8, 8, generator=generator).to(dtype).requires_grad_() for _ in range(3)]
    return SyntheticBatches(pixels=pixels, factor=1, mean=blobs.mean, std=blobs.std, stream=3, **more)


def real(blobs):
    return RealBatches(data=blobs, weights=torch.ones(len(blobs)), stream=3)


def objective(**options):
    usual = {"student_steps": 3, "expert_epochs": 2, "max_start_epoch": 4, "augmentation": ()}
    return MTT(**{**usual, **options})


def once(mtt, blobs, batches, experts, iteration=0, draw=9, state=None):
    state = mtt.prepare(blobs, SMALL, 0, Surroundings(experts=experts)) if state is None else state
    (value,) = list(mtt.distances(state, real(blobs), batches, iteration, draw))
    return value, torch.autograd.grad(value, list(batches.pixels)), state


def plain_logits(weights, images):
    """ConvNet with instance normalisation, written out; weights are a list of tensors."""
    for block in range(2):
        kernel, bias, scale, shift = weights[4 * block : 4 * block + 4]
        images = F.conv2d(images, kernel, bias, padding=1)
        mean = images.mean((2, 3), keepdim=True)
        variance = ((images - mean) ** 2).mean((2, 3), keepdim=True)
        images = (images - mean) / (variance + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
        images = images.clamp(min=0)
        images = (
            images[:, :, ::2, ::2] + images[:, :, 1::2, ::2] + images[:, :, ::2, 1::2] + images[:, :, 1::2, 1::2]
        ) / 4
    return images.flatten(1) @ weights[8].T + weights[9]


def cut(vector):
    found = []
    for parameter in SMALL.network.build((1, 8, 8), 3, 0).parameters():
        found.append(vector[: parameter.numel()].reshape(parameter.shape))
        vector = vector[parameter.numel() :]
    return found


def plain_distance(mtt, experts, pixels, blobs, rate, draw, targets=None):
    """The equation of the paper, step by step, weight tensor by weight tensor; labels are those of classes in turn."""
    generator = rng.generator(draw, "expert")
    number = int(torch.randint(len(experts), (), generator=generator))
    epoch = int(torch.randint(mtt.min_start_epoch, mtt.max_start_epoch, (), generator=generator))
    start, target = cut(experts[number][epoch]), cut(experts[number][epoch + mtt.expert_epochs])
    weights = [w.clone().requires_grad_() for w in start]
    images = torch.cat(pixels)
    if targets is None:
        targets = torch.eye(3, dtype=images.dtype).repeat_interleave(len(pixels[0]), 0)
    for step in range(mtt.student_steps):
        chosen = epoch_batch(len(images), mtt.synthetic_batch or len(images), step, rng.derive(draw, "order"))
        transform = draw_transform(mtt.augmentation, len(chosen), (1, 8, 8), rng.generator(draw, "student", step))
        logits = plain_logits(weights, transform((images[chosen] - blobs.mean.double()) / blobs.std.double()))
        loss = -torch.stack([logits[i].log_softmax(0) @ targets[j] for i, j in enumerate(chosen)]).mean()
        gradients = torch.autograd.grad(loss, weights, create_graph=True)
        weights = [w - rate * g for w, g in zip(weights, gradients, strict=True)]
    end, start, target = (torch.cat([part.flatten() for part in parts]) for parts in (weights, start, target))
    matched = torch.arange(len(start)) >= math.floor(mtt.skipped_share * len(start))
    return ((end - target) ** 2)[matched].sum() / ((start - target) ** 2)[matched].sum()


@pytest.mark.parametrize("unroll", ["constant", "full"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"student_steps": 4, "synthetic_batch": 4, "augmentation": ("flip", "color", "crop", "cutout")},
        {"skipped_share": 0.5},
    ],
    ids=["whole", "augmented batches", "deep layers"],
)
def test_distance_and_both_gradients_equal_the_plain_equation(blobs, unroll, options):
    mtt = objective(unroll=unroll, step_size=0.1, step_size_rate=1.0, step_size_momentum=0.0, **options)
    experts, batches = walks(dtype=torch.float64), synthetic(blobs, dtype=torch.float64)
    value, found, state = once(mtt, blobs, batches, experts)
    pixels = [p.detach().clone().requires_grad_() for p in batches.pixels]
    rate = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    expected = plain_distance(mtt, experts, pixels, blobs, rate, draw=9)
    *wanted, slope = torch.autograd.grad(expected, [*pixels, rate])
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    for a, b in zip(found, wanted, strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm() and b.norm() > 0
    # One step of rate 1 without momentum shows the gradient of the step size.
    torch.testing.assert_close(0.1 - state.rate, slope, rtol=1e-9, atol=0)


def journey(network, steps=6, batch=4, **more):
    generator = torch.Generator().manual_seed(0)
    start = nn.utils.parameters_to_vector(network.parameters()).detach()
    images = torch.randn(7, 1, 8, 8, generator=generator, dtype=torch.float64)
    kinds = ("flip", "color", "crop", "scale", "rotate", "cutout")
    return Journey(
        network=network,
        start=start,
        target=start + 0.05 * torch.randn(start.shape, generator=generator, dtype=torch.float64),
        images=images,
        steps=[
            (torch.randperm(7, generator=generator)[:batch], draw_transform(kinds, batch, (1, 8, 8), generator))
            for _ in range(steps)
        ],
        rate=torch.tensor(0.3, dtype=torch.float64),
        **{"labels": torch.tensor([0, 0, 1, 1, 2, 2, 0]), **more},
    )


def soft(count=7, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator, dtype=torch.float64).softmax(1)


@pytest.mark.parametrize("more", [{}, {"labels": soft()}, {"labels": soft(), "unmatched": 50}], ids=str)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_one_graph_per_step_gives_the_gradients_of_one_graph_of_all(batch_norm, more):
    network = with_batch_norm().double() if batch_norm else SMALL.network.build((1, 8, 8), 3, 0).double()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    way = journey(network, **more)
    for a, b in zip(way.constant(), way.full(), strict=True):
        if a is b is None:
            assert "labels" not in more, "classes have no slope"
        else:
            assert (a - b).norm() <= 1e-9 * b.norm() and b.norm() > 0
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items()), "left alone"


@pytest.mark.parametrize("unmatched", [0, 50])
@pytest.mark.parametrize("unroll", ["constant", "full"])
@pytest.mark.parametrize("what", ["labels", "images", "rate"])
def test_slopes_are_what_a_small_change_makes(what, unroll, unmatched):
    way = journey(SMALL.network.build((1, 8, 8), 3, 0).double(), labels=soft(), unmatched=unmatched)
    found = getattr(way, unroll)()
    slope = {"labels": found.labels, "images": found.pixels, "rate": found.rate}[what]
    value = getattr(way, what)
    change = torch.randn(value.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    up, down = (replace(way, **{what: value + sign * 1e-6 * change}).full().distance for sign in (1, -1))
    assert float((slope * change).sum()) == pytest.approx(float(up - down) / 2e-6, rel=1e-5)


def test_labels_that_leave_no_doubt_teach_what_classes_teach():
    network = SMALL.network.build((1, 8, 8), 3, 0).double()
    hard = journey(network)
    sure = replace(hard, labels=F.one_hot(hard.labels, 3).double())
    for a, b in zip(sure.constant()[:3], hard.constant()[:3], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("unroll", ["constant", "full"])
def test_first_weights_that_are_left_out_may_go_anywhere(unroll):
    """In numerator and denominator; the student learns them all the same."""
    way = journey(SMALL.network.build((1, 8, 8), 3, 0).double(), unmatched=50)
    astray = way.target.clone()
    astray[:50] += 3
    for a, b in zip(getattr(way, unroll)()[:3], getattr(replace(way, target=astray), unroll)()[:3], strict=True):
        assert torch.equal(a, b)
    fewer = replace(way, unmatched=49)
    assert getattr(fewer, unroll)().distance != getattr(replace(fewer, target=astray), unroll)().distance
    assert way.full().distance != replace(way, unmatched=0).full().distance


@pytest.mark.parametrize(("share", "left_out"), [(0.0, 0), (0.25, 41), (0.5, 82), (0.75, 123), (0.999, 164)])
def test_the_share_left_out_is_counted_in_numbers(blobs, share, left_out):
    """PAD's shares of 165 numbers; 41 of them end in the middle of the second convolution's weights."""
    assert SIZE == 165
    mtt, (expert,) = objective(skipped_share=share, max_start_epoch=1), walks(1)
    before, _, _ = once(mtt, blobs, synthetic(blobs), [expert])
    for first, same in ((0, left_out > 0), (left_out - 1, left_out > 0), (left_out, False)):
        if first >= 0:
            astray = expert.clone()
            astray[2, first] += 1  # where the expert ends
            after, _, _ = once(mtt, blobs, synthetic(blobs), [astray])
            assert bool(after == before) is same, first


def peak_of_saved_tensors(work):
    """Most bytes that graphs held at one time."""
    alive, peak = [0], [0]

    def pack(tensor):
        class Held:
            value = tensor

        held, size = Held(), tensor.nbytes
        alive[0] += size
        peak[0] = max(peak[0], alive[0])
        weakref.finalize(held, lambda: alive.__setitem__(0, alive[0] - size))
        return held

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda held: held.value):
        work()
    return peak[0]


def test_the_graph_in_memory_is_that_of_one_step():
    # Without normalisation, whose second derivative never gives its packed tensors back to the hooks.
    network = ConvNet(width=3, depth=2, norm="none").build((1, 8, 8), 3, 0).double()
    few, many = journey(network, steps=2), journey(network, steps=12)
    assert peak_of_saved_tensors(many.constant) == peak_of_saved_tensors(few.constant)
    assert peak_of_saved_tensors(many.full) > 4 * peak_of_saved_tensors(few.full)


@pytest.mark.parametrize("unroll", ["constant", "full"])
def test_a_student_that_does_not_move_is_at_distance_exactly_1(blobs, unroll):
    value, _, _ = once(objective(unroll=unroll, step_size=1e-30), blobs, synthetic(blobs), walks())
    assert value == 1


def test_a_student_that_goes_the_experts_way_is_at_distance_0(blobs):
    """An expert made by plain SGD on the synthetic images themselves, as many steps per epoch as the student takes."""
    batches = synthetic(blobs, dtype=torch.float64)
    images = normalise(torch.cat([p.detach() for p in batches.pixels]), blobs.mean, blobs.std)
    labels = torch.arange(3).repeat_interleave(2)
    rows = [walks(1, dtype=torch.float64)[0][0]]
    for _ in range(7):
        weights = [w.clone().requires_grad_() for w in cut(rows[-1])]
        gradients = torch.autograd.grad(F.cross_entropy(plain_logits(weights, images), labels), weights)
        rows.append(rows[-1] - 0.05 * torch.cat([g.flatten() for g in gradients]))
    for epochs in (1, 3):
        mtt = objective(student_steps=epochs, expert_epochs=epochs, step_size=0.05)
        value, _, _ = once(mtt, blobs, batches, [torch.stack(rows)])
        assert value < 1e-20
        value, _, _ = once(
            objective(student_steps=epochs, expert_epochs=epochs + 1), blobs, batches, [torch.stack(rows)]
        )
        assert value > 1e-3


def test_the_range_of_start_epochs_grows_from_easy_to_hard():
    mtt = MTT(min_start_epoch=2, current_max_start_epoch=10, max_start_epoch=20, expansion_end=100)
    ranges = [mtt.start_epochs(iteration) for iteration in (0, 9, 10, 50, 99, 100, 101, 10**6)]
    assert [(r.start, r.stop) for r in ranges] == [(2, 10)] * 2 + [(2, 11), (2, 15), (2, 19)] + [(2, 20)] * 3
    assert MTT().start_epochs(0) == range(25)


def test_start_and_target_come_from_one_expert_some_epochs_apart():
    mtt = objective(expert_epochs=2, min_start_epoch=1, max_start_epoch=4)
    experts = [torch.full((6, 4), 10.0 * number) + torch.arange(6.0)[:, None] for number in range(3)]
    seen = set()
    for draw in range(200):
        start, target = (int(end[0]) for end in mtt._ends(experts, 0, rng.generator(draw, "expert")))
        assert target == start + 2
        seen.add(start)
    assert seen == {10 * number + epoch for number in range(3) for epoch in (1, 2, 3)}


def test_every_student_epoch_shows_every_image_once():
    steps = objective(student_steps=4, synthetic_batch=4)._steps(torch.zeros(6, 1, 8, 8), draw=1)
    orders = [order.tolist() for order, _ in steps]
    assert [len(order) for order in orders] == [4, 2, 4, 2]
    assert sorted(orders[0] + orders[1]) == sorted(orders[2] + orders[3]) == list(range(6))
    assert orders[0] != orders[2]
    assert [len(order) for order, _ in objective(synthetic_batch=50)._steps(torch.zeros(6, 1, 8, 8), draw=1)] == [6] * 3


def test_every_step_has_an_augmentation_of_its_own_for_every_image():
    steps = objective(augmentation=("color",))._steps(torch.zeros(6, 1, 8, 8), draw=1)
    colors = torch.cat([transform.color for _, transform in steps])
    assert len(colors.unique(dim=0)) == 18


def test_the_step_size_learns_by_sgd_with_momentum_of_its_own(blobs):
    experts, batches = walks(), synthetic(blobs)
    state, slopes = None, []
    for draw in (4, 5):
        bare = objective(step_size_rate=1e-3, step_size_momentum=0.0)
        fresh = bare.prepare(blobs, SMALL, 0, Surroundings(experts=experts))
        if state is not None:
            fresh.restore({"rate": state.rate, "velocity": torch.zeros(())})
        before = fresh.rate
        once(bare, blobs, batches, experts, draw=draw, state=fresh)
        slopes.append((before - fresh.rate) / 1e-3)
        _, _, state = once(objective(step_size_rate=5e-4), blobs, batches, experts, draw=draw, state=state)
    expected = 0.01 - 5e-4 * slopes[0] - 5e-4 * (0.5 * slopes[0] + slopes[1])
    torch.testing.assert_close(state.rate, expected, rtol=1e-5, atol=0)
    assert abs(float(slopes[0])) > 1e-3
    _, _, still = once(objective(step_size_rate=0.0), blobs, batches, experts)
    assert still.rate == 0.01


def test_a_student_that_ends_too_far_away_is_skipped(blobs):
    experts, batches = walks(), synthetic(blobs)
    value, found, state = once(objective(step_size=5.0, step_size_rate=1.0), blobs, batches, experts)
    assert value.detach() > 1 and all(g.abs().max() > 0 for g in found) and state.rate != 5
    skipped, none, state = once(objective(step_size=5.0, step_size_rate=1.0, threshold=1.0), blobs, batches, experts)
    assert skipped == value, "what happened is reported"
    assert all(g.abs().max() == 0 for g in none) and state.rate == 5
    _, kept, state = once(objective(step_size=5.0, threshold=2 * value.item()), blobs, batches, experts)
    assert all(torch.equal(a, b) for a, b in zip(kept, found, strict=True))


def test_frozen_segments_teach_the_student_but_only_new_images_move(blobs):
    frozen = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(c)) for c in range(3)]
    experts = walks()
    alone, _, _ = once(objective(), blobs, synthetic(blobs), experts)
    together, found, _ = once(objective(), blobs, synthetic(blobs, frozen=frozen), experts)
    assert together != alone
    assert [g.shape[0] for g in found] == [2, 2, 2] and all(g.abs().max() > 0 for g in found)
    whole = SyntheticBatches(
        pixels=[
            torch.cat(pair).detach().requires_grad_() for pair in zip(frozen, synthetic(blobs).pixels, strict=True)
        ],
        factor=1,
        mean=blobs.mean,
        std=blobs.std,
        stream=3,
    )
    same, _, _ = once(objective(), blobs, whole, experts)
    assert same == together


def test_labels_follow_the_classes_of_decoded_images(blobs):
    """With factor 2 every stored image is four, and a step on them is a step on the set decoded by hand."""
    experts, stored = walks(dtype=torch.float64), synthetic(blobs, dtype=torch.float64)
    tiles = SyntheticBatches(pixels=stored.pixels, factor=2, mean=blobs.mean, std=blobs.std, stream=3)
    decoded = SyntheticBatches(
        pixels=[
            torch.cat(
                [
                    F.interpolate(p.detach()[:, :, i : i + 4, j : j + 4], size=(8, 8), mode="bilinear")
                    for i in (0, 4)
                    for j in (0, 4)
                ]
            ).requires_grad_()
            for p in stored.pixels
        ],
        factor=1,
        mean=blobs.mean,
        std=blobs.std,
        stream=3,
    )
    a, _, _ = once(objective(), blobs, tiles, experts)
    b, _, _ = once(objective(), blobs, decoded, experts)
    torch.testing.assert_close(a, b, rtol=1e-9, atol=0)


MATCHING = Matching(
    objective=objective(student_steps=2, synthetic_batch=4, augmentation=("color", "crop"), step_size_rate=1e-3),
    trainer=SMALL,
    factor=1,
    learning_rate=5.0,
)


def run(blobs, iterations, matching=MATCHING, **more):
    initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    surroundings = Surroundings(experts=walks())
    state = matching.prepare(blobs, 4, surroundings)
    found = matching.optimise(
        initial, blobs, torch.ones(len(blobs)), iterations=iterations, planned_ipc=10, stream=4, state=state, **more
    )
    return *found, matching.objective.finish(state, blobs).learned_rate


def test_an_interrupted_run_ends_with_the_same_bytes_and_step_size(blobs, tmp_path):
    whole, history, rate = run(blobs, 4)
    assert rate != 0.01 and not torch.equal(whole, run(blobs, 0)[0])
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
        resumed, again, learned = run(blobs, 4, checkpoint=Checkpoint(path, every_seconds=0.0))
        assert torch.equal(resumed, whole) and torch.equal(again, history) and learned == rate


def test_a_step_size_that_is_learned_to_zero_or_below_ends_the_segment(blobs, tmp_path):
    """From there on students climb, and pixels learn from that; without a word, should it come back."""
    steep = replace(MATCHING, objective=replace(MATCHING.objective, step_size_rate=10.0))
    rule = r"^objective: step_size of mtt must stay > 0 as it is learned, got -\d.*\(a smaller step_size_rate, or 0"
    for iterations in (1, 4):
        with pytest.raises(ConfigError, match=rule):
            run(blobs, iterations, steep)
    with pytest.raises(ConfigError, match=rule):
        run(blobs, 1, steep, checkpoint=Checkpoint(tmp_path / "c", every_seconds=0.0))
    assert not (tmp_path / "c").exists()
    state = MATCHING.prepare(blobs, 4, Surroundings(experts=walks()))
    for slope in (100.0, -100.0):
        state.learn(torch.tensor(slope, dtype=torch.float64), 1e-3, 0.0, None)
    assert state.rate == pytest.approx(0.01), "back again"
    with pytest.raises(ConfigError, match=rule.replace(r"-\d", r"-0\.0")):
        state.check()


def test_pixels_come_closer_to_the_experts(blobs):
    expert_trainer = Trainer(network=SMALL.network, recipe=Recipe(batch_size=16, momentum=0.0, cutmix=0.0))
    rows = [nn.utils.parameters_to_vector(n.parameters()).detach() for n in expert_trainer.train(blobs, 12, 1, 3)]
    mtt = objective(max_start_epoch=1, expert_epochs=1, student_steps=2, step_size=0.02, step_size_rate=0.0)
    matching = Matching(objective=mtt, trainer=SMALL, factor=1, learning_rate=20.0)
    initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    _, history = matching.optimise(
        initial,
        blobs,
        torch.ones(len(blobs)),
        iterations=20,
        planned_ipc=10,
        stream=4,
        state=matching.prepare(blobs, 4, Surroundings(experts=[torch.stack(rows)])),
    )
    assert history[-3:].mean() < 0.9 * history[:3].mean()


def test_a_segment_records_the_step_size_learned_with_it(blobs):
    segment, _ = distil_segment(
        MATCHING,
        SegmentPlan(ipc=1, iterations=3),
        blobs,
        (),
        weights=torch.ones(len(blobs)),
        rank=None,
        planned_ipc=1,
        seed=0,
        experts=walks(),
    )
    assert segment.learned_rate is not None and 0 < abs(segment.learned_rate - 0.01) < 0.01
    assert segment.soft_labels is None


def test_the_pixels_move_by_the_rule_of_the_paper():
    assert MTT().rule == PixelRule(kind="sgd", learning_rate=1000.0, momentum=0.5, normalised=True)
    assert MTT().needs_experts and not MTT.class_by_class


def test_no_experts_are_refused_in_one_line(blobs):
    with pytest.raises(ConfigError, match=r"^objective: mtt must be given expert trajectories, got none \(.+\)$"):
        MATCHING.prepare(blobs, 0)


def test_experts_that_do_not_fit_are_refused(blobs):
    with pytest.raises(ConfigError, match=r"^experts must have at least 5 epochs .*, got 4$"):
        objective().prepare(blobs, SMALL, 0, Surroundings(experts=walks(rows=5)))
    objective().prepare(blobs, SMALL, 0, Surroundings(experts=walks(rows=6)))
    with pytest.raises(ConfigError, match=rf"^experts must have {SIZE} weights, .*, got 7$"):
        objective().prepare(blobs, SMALL, 0, Surroundings(experts=[torch.zeros(6, 7)]))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("student_steps", 0),
        ("expert_epochs", 0),
        ("min_start_epoch", -1),
        ("min_start_epoch", 25),
        ("current_max_start_epoch", 26),
        ("current_max_start_epoch", 0),
        ("expansion_end", 0),
        ("threshold", 0.0),
        ("synthetic_batch", 0),
        ("step_size", 0.0),
        ("step_size_rate", -1.0),
        ("step_size_momentum", 1.0),
        ("label_rate", -1.0),
        ("label_momentum", 1.0),
        ("skipped_share", 1.0),
        ("skipped_share", -0.1),
    ],
)
def test_values_out_of_range_are_refused(option, value):
    with pytest.raises(ConfigError, match=option):
        MTT(**{option: value})


def test_the_last_values_in_range_are_taken():
    assert MTT(synthetic_batch=1, current_max_start_epoch=25, step_size_rate=0.0, label_rate=0.0).synthetic_batch == 1


def test_a_network_of_the_right_kind_is_lent_in_training_mode(blobs):
    state = objective().prepare(blobs, SMALL, 0, Surroundings(experts=walks()))
    assert isinstance(state.network, Classifier) and state.network.training
