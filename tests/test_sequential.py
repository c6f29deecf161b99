"""The method: reduction to joint distillation, what the evaluators see, resume, from easy to hard."""

from dataclasses import dataclass, field, replace

import pytest
import torch

from dasm import rng
from dasm.difficulty import measure
from dasm.errors import ConfigError
from dasm.evaluators import Evaluators
from dasm.experts import Experts
from dasm.formation import mosaic
from dasm.initial import choose_sources
from dasm.matching import Matching
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives.gradient import Gradient
from dasm.objectives.mtt import MTT
from dasm.pixels import PixelSGD
from dasm.scores.forgetting import Forgetting
from dasm.scores.gps import GPS
from dasm.scores.loss import Loss
from dasm.segments import SegmentPlan, decoded, freeze
from dasm.selection import Selection
from dasm.sequential import Sequential
from dasm.train import Trainer
from dasm.types import Segment
from dasm.windows.budget import Budget
from dasm.windows.hard_filter import HardFilter
from tests.conftest import make_blobs

PLANS = [SegmentPlan(ipc=1, iterations=4), SegmentPlan(ipc=1, iterations=4), SegmentPlan(ipc=1, iterations=4)]


@pytest.fixture(scope="module")
def method(trainer) -> Sequential:
    return Sequential(
        matching=Matching(
            objective=Gradient(metric="mse", real_batch=8, inner_iterations=2, network_images=16),
            trainer=trainer,
            factor=2,
            learning_rate=0.5,
        ),
        evaluators=Evaluators(trainer=trainer, networks=2, steps=8, teacher_steps=4),
        selection=Selection(score=Loss(), window=Budget(width=0.5)),
        planned_ipc=3,
    )


@dataclass
class Watched:
    """One run of the three plans, and everything that went on in it."""

    segments: list[Segment] = field(default_factory=list)
    trainings: list[tuple[int, int, int]] = field(default_factory=list)
    evaluators: list[tuple] = field(default_factory=list)
    choices: list[tuple] = field(default_factory=list)


@pytest.fixture(scope="module")
def watched(method, blobs) -> Watched:
    seen = Watched()
    learn, train, weigh = Trainer.train, Evaluators.train, Selection.weigh
    asked = []

    def spy_learn(self, data, steps, stream, snapshots=1, **options):
        seen.trainings.append((len(data), steps, stream))
        return learn(self, data, steps, stream, snapshots, **options)

    def spy_train(self, parts, state, seed, previous=()):
        found = train(self, parts, state, seed, previous)
        seen.evaluators.append((state, len(parts), previous, found))
        return found

    def spy_measure(real, evaluators, score, reference=()):
        asked.append((evaluators, [id(network) for network in reference]))
        return measure(real, evaluators, score, reference)

    def spy_weigh(self, difficulty, **options):
        weights = weigh(self, difficulty, **options)
        seen.choices.append((*asked.pop(), difficulty, weights))
        return weights

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "train", spy_learn)
        patch.setattr(Evaluators, "train", spy_train)
        patch.setattr("dasm.sequential.measure", spy_measure)
        patch.setattr(Selection, "weigh", spy_weigh)
        seen.segments += method.distil(blobs, PLANS, seed=0)
    return seen


def equal(first, second) -> bool:
    return all(
        torch.equal(a.images, b.images) and torch.equal(a.sources, b.sources) and a.lower == b.lower
        for a, b in zip(first, second, strict=True)
    )


def plain_idc(method, real, ipc, iterations, seed):
    """Joint IDC written out as one loop, without segments, windows, scores or checkpoints."""
    matching, objective = method.matching, method.matching.objective
    everyone, nobody = torch.ones(len(real)), torch.zeros(0, dtype=torch.long)
    sources = choose_sources(real, everyone, None, ipc * matching.factor**2, nobody, rng.derive(seed, "initial"))
    pixels = [mosaic(real.pixels(row), matching.factor).requires_grad_() for row in sources]
    stream = rng.derive(seed, "segment", 0)
    state = objective.prepare(real, matching.trainer, rng.derive(stream, "objective"), Surroundings())
    batches = RealBatches(data=real, weights=everyone, stream=rng.derive(stream, "real"))
    synthetic = SyntheticBatches(
        pixels=pixels,
        factor=matching.factor,
        mean=real.mean,
        std=real.std,
        stream=rng.derive(stream, "synthetic"),
    )
    optimiser = PixelSGD(
        pixels, matching.rule.rate(method.planned_ipc, 8 * 8), matching.rule.momentum, len(pixels), torch.ones(())
    )
    for iteration in range(iterations):
        if iteration % objective.inner_iterations == 0:
            optimiser.clamp()
        optimiser.before()
        for value in objective.distances(
            state, batches, synthetic, iteration, rng.derive(stream, "iteration", iteration)
        ):
            optimiser.accumulate(value)
        optimiser.step()
    optimiser.clamp()
    return freeze(torch.cat([x.detach() for x in pixels]))


def test_one_segment_with_a_full_window_is_joint_idc_bit_for_bit(method, blobs):
    (segment,) = method.distil(blobs, [SegmentPlan(ipc=2, iterations=5)], seed=0)
    assert torch.equal(segment.images, plain_idc(method, blobs, 2, 5, seed=0))


def test_a_window_of_width_one_is_no_window_in_matching(method, blobs):
    """With first_window: window and width 1 every real image is matched; only the initial images are chosen by rank."""
    selection = Selection(score=Loss(), window=Budget(width=1.0), first_window="window")
    wide = Sequential(
        matching=method.matching, evaluators=method.evaluators, selection=selection, planned_ipc=method.planned_ipc
    )
    (segment,) = wide.distil(blobs, [SegmentPlan(ipc=2, iterations=5)], seed=0)
    assert torch.equal(segment.images, plain_idc(method, blobs, 2, 5, seed=0))


def test_evaluators_see_the_real_set_and_then_all_segments_so_far(watched, blobs):
    decoded_per_segment = 3 * 1 * 2**2
    n, m = len(blobs), decoded_per_segment
    assert [size for size, *_ in watched.trainings] == [n, n, m, m, 2 * m, 2 * m]
    assert [steps for _, steps, _ in watched.trainings] == [4, 4, 8, 8, 8, 8]
    assert len({stream for *_, stream in watched.trainings}) == 6, "no two networks share a stream"
    assert len(decoded(watched.segments[:2], blobs)) == 2 * m


def test_evaluators_that_see_stored_images_learn_these_and_nothing_else(method, blobs, watched, monkeypatch):
    learnt, train = [], Evaluators.train
    monkeypatch.setattr(
        Evaluators, "train", lambda self, parts, *rest: learnt.append(parts) or train(self, parts, *rest)
    )
    stored = replace(method, evaluators=replace(method.evaluators, images="stored"))
    segments = list(stored.distil(blobs, PLANS, seed=0))
    assert torch.equal(segments[0].images, watched.segments[0].images), "nobody has learnt of it yet"
    assert not equal(segments[1:], watched.segments[1:])
    (real,), *states = learnt
    assert real is blobs and [len(parts) for parts in states] == [1, 2]
    for parts in states:
        for part, segment in zip(parts, segments, strict=False):
            assert torch.equal(part.images, segment.images) and torch.equal(part.labels, segment.labels)
            assert torch.equal(part.mean, blobs.mean) and torch.equal(part.std, blobs.std)


def test_training_streams_differ_over_roots_states_and_networks(method, blobs, monkeypatch):
    streams = []
    monkeypatch.setattr(Trainer, "train", lambda self, d, steps, stream, *_, **__: streams.append(stream) or [])
    for root in range(-2, 6):
        for state in range(4):
            method.evaluators.train([blobs], state, root)
    assert len(set(streams)) == len(streams) == 8 * 4 * 2


def test_a_run_that_goes_on_from_any_segment_equals_an_uninterrupted_one(method, blobs, watched):
    whole = watched.segments
    for done in range(1, 3):
        rest = list(method.distil(blobs, PLANS, seed=0, prefix=whole[:done]))
        assert equal(whole[done:], rest)


def test_a_run_goes_on_though_its_evaluators_do_not_start_afresh(method, blobs):
    evaluators = replace(method.evaluators, start="warm", order="stagewise", networks=1)
    warm = replace(method, evaluators=evaluators)
    plans = [SegmentPlan(ipc=1, iterations=2)] * 4
    whole = list(warm.distil(blobs, plans, seed=0))
    assert equal(whole[3:], list(warm.distil(blobs, plans, seed=0, prefix=whole[:3])))


def test_every_state_goes_on_from_the_networks_of_the_one_before(watched):
    seen = watched.evaluators
    assert [(state, parts) for state, parts, *_ in seen] == [(0, 1), (1, 1), (2, 2)]
    assert not seen[1][2], "teachers are not handed on"
    assert [id(network) for network in seen[2][2]] == [id(snapshots[-1]) for snapshots in seen[1][3]]
    assert all(asked is found for (asked, *_), (*_, found) in zip(watched.choices, seen, strict=True))
    teachers = [id(snapshots[-1]) for snapshots in seen[0][3]]
    assert [reference for _, reference, *_ in watched.choices] == [[], teachers, teachers]


def test_plans_that_do_not_begin_with_the_segments_there_are_are_refused(method, blobs, watched):
    rule = r"^plans must begin with those of prefix \(\[1\] images per class\), got "
    for plans, got in (([], r"\[\]"), ([SegmentPlan(ipc=2, iterations=4), *PLANS], r"\[2\]")):
        with pytest.raises(ConfigError, match=rule + got + "$"):
            next(method.distil(blobs, plans, seed=0, prefix=watched.segments[:1]))


def test_parts_that_do_not_fit_are_refused_before_anything_is_trained(method, trainer):
    follows = replace(method.matching, objective=MTT(max_start_epoch=2, expert_epochs=2))
    experts = Experts(trainer=trainer, number=1, epochs=3, prefix_steps=0)
    assert replace(method, matching=follows, experts=experts).experts == experts
    other = replace(trainer, network=ConvNet(width=8, depth=2))
    refused = {
        r"^snapshots must be >= 2 for the score 'forgetting', got 1$": {
            "selection": replace(method.selection, score=Forgetting())
        },
        r"^trainer\.network must have convolutions for the score 'gps', got 'mlp'$": {
            "selection": replace(method.selection, score=GPS()),
            "evaluators": replace(method.evaluators, trainer=replace(trainer, network=MLP())),
        },
        r"^experts must be given for mtt, got None$": {"matching": follows},
        r"^experts must be left out for objectives that follow none, got Experts\(": {"experts": experts},
        r"^experts\.epochs must be >= 3, got 2$": {"matching": follows, "experts": replace(experts, epochs=2)},
        r"^experts\.trainer\.network must be that of the matching, ConvNet\(width=4.*, got ConvNet\(width=8": {
            "matching": follows,
            "experts": replace(experts, trainer=other),
        },
    }
    for rule, parts in refused.items():
        with pytest.raises(ConfigError, match=rule):
            replace(method, **parts)


def test_progress_is_of_every_segment(method, blobs):
    ranges = []
    list(method.distil(blobs, PLANS[:2], seed=0, track=lambda run: ranges.append(run) or run))
    assert ranges == [range(4), range(4)]


def test_a_longer_plan_keeps_the_segments_there_are(method, blobs, watched):
    assert equal(list(method.distil(blobs, PLANS[:2], seed=0)), watched.segments[:2])


def test_seeds_are_streams_zero_included(method, blobs, watched):
    first = [next(method.distil(blobs, PLANS[:1], seed=seed)).images for seed in (0, 1, -1)]
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert torch.equal(first[0], watched.segments[0].images)


def test_windows_move_from_easy_to_hard(watched):
    scores, weights = zip(*((table.score, weights) for *_, table, weights in watched.choices), strict=True)
    inside = [float(s[w > 0].mean() - s.mean()) for s, w in zip(scores, weights, strict=True)]
    assert [int((w > 0).sum()) for w in weights] == [48, 24, 24], "everyone first (A2), then half of each class"
    assert inside[1] < inside[2], "inside the window it gets harder relative to the whole"
    assert [s.lower for s in watched.segments] == pytest.approx([0, 0.1875, 0.375]), "1/6, 1/3, up to the next of 16"
    assert [s.upper for s in watched.segments] == pytest.approx([1, 0.6875, 0.875])


def test_segments_start_from_images_of_their_window_and_never_twice_from_one(method, monkeypatch):
    tables, blobs = [], make_blobs(32, seed=0)
    weigh = Selection.weigh
    monkeypatch.setattr(Selection, "weigh", lambda *a, **k: (tables.append(weigh(*a, **k)), tables[-1])[1])
    segments = list(method.distil(blobs, PLANS, seed=0))
    for segment, weights in zip(segments, tables, strict=True):
        assert (weights[segment.sources] > 0).all()
        assert (blobs.labels[segment.sources] == segment.labels[:, None]).all()
    everything = torch.cat([segment.sources.flatten() for segment in segments])
    assert len(everything.unique()) == len(everything)


def test_without_windows_the_segments_start_from_the_images_of_one_joint_set(method, blobs):
    plain = Sequential(matching=method.matching, evaluators=method.evaluators, selection=None, planned_ipc=3)
    segments = list(plain.distil(blobs, PLANS, seed=0))
    (joint,) = plain.distil(blobs, [SegmentPlan(ipc=3, iterations=0)], seed=0)
    for label in range(3):
        parts = torch.cat([s.sources[s.labels == label].flatten() for s in segments])
        assert set(parts.tolist()) == set(joint.sources[joint.labels == label].flatten().tolist())


def test_a_frozen_segment_is_what_is_scored_and_decoded(watched, blobs):
    segment = watched.segments[0]
    assert segment.images.dtype == torch.uint8
    again = decoded([segment], blobs)
    assert len(again) == 12
    assert torch.equal(again.labels, segment.labels.repeat(4))


def test_a_first_segment_without_updates_is_real_images_that_the_next_one_is_matched_beside(method, blobs, trainer):
    """SelMatch's frozen real part: the first segment holds real images as they are, from the window like the rest."""
    matching = Matching(
        objective=Gradient(metric="mse", real_batch=8, inner_iterations=2, network_images=16),
        trainer=trainer,
        factor=1,
        learning_rate=0.5,
        match_prefix=True,
    )
    ranks = Selection(score=Loss(), window=HardFilter(share=0.5, drop="easiest"), first_window="window")
    plans = [SegmentPlan(ipc=2, iterations=0), SegmentPlan(ipc=2, iterations=4)]
    kept = Sequential(matching=matching, evaluators=method.evaluators, selection=ranks, planned_ipc=4)
    real, distilled = kept.distil(blobs, plans, seed=0)
    assert torch.equal(real.images, blobs.images[real.sources.flatten()])
    assert not torch.equal(distilled.images, blobs.images[distilled.sources.flatten()])
    assert real.iterations == 0 and real.lower > 0.4
    alone = replace(kept, matching=replace(matching, match_prefix=False))
    assert not torch.equal(list(alone.distil(blobs, plans, seed=0))[1].images, distilled.images)
