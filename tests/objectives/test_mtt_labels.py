"""Trajectory matching with learnt labels (DATM), against the plain equation, and in whole segments."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dasm.errors import ConfigError
from dasm.matching import Matching
from dasm.objective_parts.unroll import Journey, logits_at
from dasm.objectives import Surroundings
from dasm.segments import SegmentPlan, decoded, distil_segment
from dasm.storage.checkpoint import Checkpoint
from dasm.train import Recipe, Trainer
from tests.objectives.test_mtt import SMALL, objective, once, plain_distance, synthetic, walks

WHOLE = {"step_size": 0.1, "label_rate": 1.0, "label_momentum": 0.0}


def said(experts, images):
    """The softmax of the mean logits of the experts that are right, or None where none is; written out."""
    network = SMALL.network.build((1, 8, 8), 3, 0)
    answers = torch.stack([logits_at(network, expert[-1], images.inputs()) for expert in experts]).detach()
    found = []
    for number, label in enumerate(images.labels.tolist()):
        right = [logits[number] for logits in answers if int(logits[number].argmax()) == label]
        found.append(torch.stack(right).mean(0).softmax(0) if right else None)
    return found


@pytest.mark.parametrize("unroll", ["constant", "full"])
@pytest.mark.parametrize("more", [{}, {"synthetic_batch": 4, "augmentation": ("color", "crop"), "skipped_share": 0.25}])
def test_distance_and_gradients_equal_the_plain_equation(blobs, unroll, more):
    mtt = objective(unroll=unroll, **WHOLE, **more)
    experts, batches = walks(dtype=torch.float64), synthetic(blobs, dtype=torch.float64)
    state = mtt.prepare(blobs, SMALL, 0, Surroundings(experts=experts))
    state.shown(batches, 0)
    before = state.tensors()["logits"]
    value, found, _ = once(mtt, blobs, batches, experts, state=state)
    pixels = [p.detach().clone().requires_grad_() for p in batches.pixels]
    logits = before.clone().requires_grad_()
    expected = plain_distance(mtt, experts, pixels, blobs, 0.1, draw=9, targets=logits.softmax(1))
    *wanted, turn = torch.autograd.grad(expected, [*pixels, logits])
    torch.testing.assert_close(value, expected, rtol=1e-9, atol=0)
    # One step of rate 1 without momentum shows the gradient of the logits.
    for a, b in zip((*found, before - state.tensors()["logits"]), (*wanted, turn), strict=True):
        assert (a - b).norm() <= 1e-9 * b.norm() and b.norm() > 0


def test_the_gradient_of_the_logits_is_what_a_small_change_makes(blobs):
    mtt, experts = objective(**WHOLE, step_size_rate=0.0), walks(dtype=torch.float64)
    batches = synthetic(blobs, dtype=torch.float64)
    _, _, state = once(mtt, blobs, batches, experts)
    kept = state.tensors()
    once(mtt, blobs, batches, experts, state=state)
    slope = kept["logits"] - state.tensors()["logits"]
    change = torch.randn(slope.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    values = []
    for sign in (1, -1):
        state.restore({**kept, "logits": kept["logits"] + sign * 1e-5 * change})
        values.append(float(once(mtt, blobs, batches, experts, state=state)[0].detach()))
    assert float((slope * change).sum()) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_students_of_a_union_learn_frozen_images_with_their_own_labels(blobs):
    frozen = [torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(c), dtype=torch.float64) for c in range(3)]
    targets = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6], [0.1, 0.0, 0.9]])
    images, labels = torch.cat(frozen), torch.arange(3)
    prefix = replace(blobs, images=images, labels=labels, targets=targets)
    mtt, experts = objective(**WHOLE), walks(dtype=torch.float64)
    batches = synthetic(blobs, dtype=torch.float64, frozen=frozen)
    state = mtt.prepare(blobs, SMALL, 0, Surroundings(experts=experts, prefix=prefix))
    state.shown(batches, 0)
    logits = state.tensors()["logits"].requires_grad_()
    value, found, _ = once(mtt, blobs, batches, experts, state=state)
    pixels = [p.detach().clone().requires_grad_() for p in batches.pixels]
    every = torch.cat([targets.double(), logits.softmax(1)])
    expected = plain_distance(mtt, experts, [*frozen, *pixels], blobs, 0.1, draw=9, targets=every)
    # Frozen pixels and soft labels are stored on 32 bits.
    torch.testing.assert_close(value, expected, rtol=1e-6, atol=0)
    *wanted, turn = torch.autograd.grad(expected, [*pixels, logits])
    for a, b in zip((*found, logits - state.tensors()["logits"]), (*wanted, turn), strict=True):
        assert (a - b).norm() <= 1e-5 * b.norm() and b.norm() > 0


def test_labels_of_a_student_that_ends_too_far_away_are_left_alone(blobs):
    experts, batches, far = walks(), synthetic(blobs), {"step_size": 5.0, "label_rate": 1.0}
    mtt = objective(**far, threshold=1.0)
    value, found, state = once(mtt, blobs, batches, experts)
    assert value > 1 and all(g.abs().max() == 0 for g in found)
    first = state.tensors()
    assert first["logits.velocity"].abs().max() == 0
    once(mtt, blobs, batches, experts, state=state)
    assert torch.equal(state.tensors()["logits"], first["logits"])
    _, _, moved = once(objective(**far), blobs, batches, experts)
    assert not torch.equal(moved.tensors()["logits"], first["logits"])


SOFT = Matching(
    objective=objective(student_steps=2, synthetic_batch=8, augmentation=("color", "crop"), label_rate=2.0),
    trainer=SMALL,
    factor=2,
    learning_rate=500.0,
    match_prefix=True,
)


def segment(blobs, prefix=(), matching=SOFT, iterations=4, ipc=2, seed=0, **more):
    usual = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 3, "experts": walks()}
    found, history = distil_segment(
        matching, SegmentPlan(ipc=ipc, iterations=iterations), blobs, prefix, seed=seed, **usual, **more
    )
    return found, history


@pytest.fixture(scope="module")
def first(blobs):
    return segment(blobs)[0]


def same(one, other):
    names = ("images", "soft_labels", "labels")
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names) and (
        one.learned_rate == other.learned_rate
    )


def test_a_segment_leaves_a_label_for_every_training_image(blobs, first):
    assert first.soft_labels.shape == (3 * 2 * 4, 3) and first.soft_labels.dtype == torch.float32
    torch.testing.assert_close(first.soft_labels.sum(1), torch.ones(24))
    assert torch.equal(decoded([first], blobs).targets, first.soft_labels)


@pytest.mark.parametrize("iterations", [0, 1])
def test_every_training_image_starts_from_what_experts_say_of_it(blobs, iterations):
    """Tile by tile; a rate of 0 keeps it whatever becomes of the images."""
    still = replace(SOFT, objective=replace(SOFT.objective, label_rate=0.0))
    start, _ = segment(blobs, matching=still, iterations=0)
    found, _ = segment(blobs, matching=still, iterations=iterations)
    assert torch.equal(found.images, start.images) is (iterations == 0)
    images = decoded([replace(start, soft_labels=None)], blobs)
    wanted = said(walks(), images)
    known = [number for number, row in enumerate(wanted) if row is not None]
    assert len(known) >= 8 and {1} != {len(torch.stack([wanted[n] for n in known]).unique(dim=0))}
    torch.testing.assert_close(found.soft_labels[known], torch.stack([wanted[n] for n in known]))
    assert torch.equal(found.soft_labels.argmax(1), images.labels), "also where no expert is right"


def test_labels_alone_bring_students_closer_to_the_experts(blobs):
    plain = Trainer(network=SMALL.network, recipe=Recipe(batch_size=16, momentum=0.0, cutmix=0.0))
    rows = [nn.utils.parameters_to_vector(n.parameters()).detach() for n in plain.train(blobs, 12, 1, 3)]
    mtt = objective(max_start_epoch=1, expert_epochs=1, step_size=0.02, step_size_rate=0.0, label_rate=0.1)
    matching = Matching(objective=mtt, trainer=SMALL, factor=1, learning_rate=1e-9)
    state = matching.prepare(blobs, 4, Surroundings(experts=[torch.stack(rows)]))
    _, history = matching.optimise(
        torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        blobs,
        torch.ones(len(blobs)),
        iterations=20,
        planned_ipc=10,
        stream=4,
        state=state,
    )
    assert history[-3:].mean() < 0.95 * history[:3].mean()


def spied(monkeypatch, work):
    """What the first journey of `work` shows its student."""
    seen, genuine = [], Journey.constant

    def constant(self):
        seen.append((self.images, self.labels))
        return genuine(self)

    with monkeypatch.context() as patch:
        patch.setattr(Journey, "constant", constant)
        work()
    return seen[0]


def test_a_union_shows_the_images_that_it_shows_with_hard_labels(blobs, first, monkeypatch):
    """Two frozen segments, one with hard labels; every image with its own label."""
    second = replace(segment(blobs, [first], ipc=1)[0], soft_labels=None)
    prefix = [first, second]
    hard = replace(SOFT, objective=replace(SOFT.objective, label_rate=None))
    images, classes = spied(monkeypatch, lambda: segment(blobs, prefix, hard, iterations=1, ipc=1))
    ours, labels = spied(monkeypatch, lambda: segment(blobs, prefix, iterations=1, ipc=1))
    known = decoded(prefix, blobs)
    assert len(images) == len(ours) == len(labels) == 48 and len(known) == 36
    places = set()
    for image, label in zip(images, classes.tolist(), strict=True):
        (place,) = torch.nonzero(((ours - image).abs() < 1e-5).flatten(1).all(1)).flatten().tolist()
        places.add(place)
        own = torch.nonzero(((known.inputs() - image).abs() < 1e-5).flatten(1).all(1)).flatten().tolist()
        if own:
            assert torch.equal(labels[place], known.targets[own[0]]) and known.labels[own[0]] == label
        else:
            assert labels[place].argmax() == label
    assert len(places) == 48


def test_frozen_segments_that_are_not_matched_make_no_difference(blobs, first):
    alone = replace(SOFT, match_prefix=False)
    other = replace(first, images=255 - first.images)
    assert same(segment(blobs, [first], alone)[0], segment(blobs, [other], alone)[0])
    assert not same(segment(blobs, [first])[0], segment(blobs, [other])[0])
    lettered = replace(first, soft_labels=first.soft_labels.flip(1))
    assert not same(segment(blobs, [first])[0], segment(blobs, [lettered])[0])


def test_frozen_segments_are_asked_for_where_labels_are_learnt():
    assert SOFT.objective.asks_prefix and not replace(SOFT.objective, label_rate=None).asks_prefix
    assert replace(SOFT.objective, label_rate=0.0).asks_prefix


def test_a_union_without_the_frozen_images_is_refused_in_one_line(blobs):
    state = SOFT.prepare(blobs, 4, Surroundings(experts=walks()))
    with pytest.raises(ConfigError, match=r"^surroundings: prefix must hold the 12 training images .+, got 0 \(.+\)$"):
        SOFT.optimise(
            torch.rand(3, 2, 1, 8, 8),
            blobs,
            torch.ones(len(blobs)),
            iterations=1,
            planned_ipc=3,
            stream=4,
            frozen=[torch.rand(1, 1, 8, 8)] * 3,
            state=state,
        )


def test_an_interrupted_segment_ends_with_the_same_bytes_and_labels(blobs, first, tmp_path):
    whole, history = segment(blobs, [first])
    for stop in range(1, 4):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            segment(blobs, [first], checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        resumed, again = segment(blobs, [first], checkpoint=Checkpoint(path, every_seconds=0.0))
        assert same(resumed, whole) and torch.equal(again, history)
    assert not torch.equal(whole.soft_labels, segment(blobs, [first], iterations=3)[0].soft_labels)
    # A run that ended, and was stopped before its segment was written.
    done = Checkpoint(tmp_path / "done.safetensors", every_seconds=0.0)
    segment(blobs, [first], checkpoint=done)
    assert same(segment(blobs, [first], checkpoint=done)[0], whole)


def test_pixels_that_are_no_numbers_are_reported(blobs):
    initial = torch.full((3, 2, 1, 8, 8), float("nan"))
    state = SOFT.prepare(blobs, 4, Surroundings(experts=walks()))
    with pytest.raises(FloatingPointError, match="iteration 0: the distance is nan"):
        SOFT.optimise(initial, blobs, torch.ones(len(blobs)), iterations=1, planned_ipc=3, stream=4, state=state)
