"""The pixel optimiser, and a run that is interrupted."""

from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from dasm import history as history_module
from dasm.errors import ConfigError
from dasm.formation import decode
from dasm.matching import Matching
from dasm.objectives import Surroundings
from dasm.objectives.dm import DM
from dasm.objectives.gradient import Gradient
from dasm.objectives.ncfm import NCFM
from dasm.pixels import PixelSGD
from dasm.storage.checkpoint import Checkpoint
from dasm.storage.ledger import metered


@pytest.fixture
def matching(trainer) -> Matching:
    objective = Gradient(metric="mse", real_batch=8, inner_iterations=3, network_images=16)
    return Matching(objective=objective, trainer=trainer, factor=2, learning_rate=0.5)


def sequential_sgd(pixels, gradient_of, rate, momentum, iterations):
    """What IDC does: one torch optimiser over the whole tensor, stepped once per class, zero gradient elsewhere."""
    whole = torch.stack(pixels).requires_grad_()
    optimiser = torch.optim.SGD([whole], lr=rate, momentum=momentum)
    for iteration in range(iterations):
        for c in range(len(pixels)):
            whole.grad = torch.zeros_like(whole)
            whole.grad[c] = gradient_of(whole[c].detach(), iteration, c)
            optimiser.step()
    return whole.detach()


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_cross_class_momentum_in_closed_form_equals_one_sgd_stepped_class_by_class(momentum):
    generator = torch.Generator().manual_seed(0)
    start = [torch.rand(2, 1, 4, 4, generator=generator, dtype=torch.float64) for _ in range(5)]
    targets = torch.rand(100, 5, 2, 1, 4, 4, generator=generator, dtype=torch.float64)

    def gradient_of(x, iteration, c):
        return torch.sin(3 * x) - targets[iteration, c]  # depends on where the class has coasted to

    expected = sequential_sgd(start, gradient_of, rate=0.1, momentum=momentum, iterations=100)
    pixels = [x.clone().requires_grad_() for x in start]
    optimiser = PixelSGD(pixels, rate=0.1, momentum=momentum, turns=5, unit=torch.ones(()))
    for iteration in range(100):
        optimiser.before()
        for c, x in enumerate(pixels):
            optimiser.accumulate((x * gradient_of(x.detach(), iteration, c)).sum())
        optimiser.step()
    torch.testing.assert_close(torch.stack([x.detach() for x in pixels]), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_one_turn_is_plain_sgd():
    start = torch.rand(2, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ours, theirs = start.clone().requires_grad_(), start.clone().requires_grad_()
    optimiser = PixelSGD([ours], rate=0.1, momentum=0.5, turns=1, unit=torch.ones(()))
    reference = torch.optim.SGD([theirs], lr=0.1, momentum=0.5)
    for _ in range(20):
        optimiser.before()
        optimiser.accumulate((ours**3).sum())
        optimiser.step()
        reference.zero_grad()
        (theirs**3).sum().backward()
        reference.step()
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_the_rate_follows_planned_images_and_area(matching):
    assert matching.rule.rate(10, 32 * 32) == pytest.approx(0.5)
    assert matching.rule.rate(50, 16 * 16) == pytest.approx(0.5 * 5 / 4)
    assert matching.rule.rate(10, 16 * 64) == matching.rule.rate(10, 32 * 32), "an oblong is its area"
    # IDC's own rates are for 28 pixels a side in MNIST and 224 in ImageNet, where it takes 1e-4 and 3e-3 as they are.
    for side in (28, 224):
        elsewhere = replace(matching, objective=replace(matching.objective, reference_side=side))
        assert elsewhere.rule.rate(10, side * side) == pytest.approx(0.5)


@pytest.mark.parametrize("height", [4, 16])
def test_an_oblong_moves_as_far_standing_as_lying(matching, height):
    pixels = [torch.zeros(1, 1, height, 64 // height, requires_grad=True)]
    optimiser = matching.rule.start(pixels, 10, 1, torch.ones(1))
    optimiser.before()
    optimiser.accumulate(-pixels[0].sum())
    optimiser.step()
    assert pixels[0].detach().flatten().tolist() == pytest.approx([matching.rule.rate(10, 64)] * 64)


def run(matching, blobs, iterations, prefix=None, **more):
    initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    state = matching.prepare(blobs, 4, Surroundings(prefix=prefix))
    return matching.optimise(
        initial, blobs, torch.ones(len(blobs)), iterations=iterations, planned_ipc=10, stream=4, state=state, **more
    )


def of_width(trainer, width):
    return replace(trainer, network=replace(trainer.network, width=width))


# A first convolution of twelve channels is a stem.
@pytest.mark.deep
@pytest.mark.parametrize("width", [4, 12])
def test_a_hundred_steps_with_all_classes_at_once_equal_the_class_loop(trainer, blobs, double, width):
    trainer = of_width(trainer, width)
    options = {"metric": "l1", "real_batch": 8, "inner_iterations": 30, "network_images": 16}
    fast, slow = (
        run(
            Matching(objective=Gradient(classes=way, **options), trainer=trainer, learning_rate=0.1), double(blobs), 100
        )
        for way in ("batched", "loop")
    )
    for mine, theirs in zip(fast, slow, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-9
    assert float((slow[0] - run(Matching(objective=Gradient(), trainer=trainer), double(blobs), 0)[0]).norm()) > 0.1


@pytest.mark.deep
@pytest.mark.parametrize("width", [4, 12])
def test_a_hundred_steps_in_32_bits_stay_together(trainer, blobs, width):
    trainer = of_width(trainer, width)
    options = {"metric": "mse", "real_batch": 8, "inner_iterations": 30, "network_images": 16}
    fast, slow = (
        run(Matching(objective=Gradient(classes=way, **options), trainer=trainer, learning_rate=0.1), blobs, 100)
        for way in ("batched", "loop")
    )
    for mine, theirs in zip(fast, slow, strict=True):
        assert float((mine - theirs).norm() / theirs.norm()) < 1e-4


def test_pixels_move_stay_in_range_and_come_closer(matching, blobs):
    pixels, history = run(matching, blobs, 40)
    still, _ = run(matching, blobs, 0)
    assert not torch.equal(pixels, still)
    assert 0 <= pixels.min() <= pixels.max() <= 1
    assert history[-10:].mean() < history[:10].mean()


def test_passes_that_match_round_nothing_though_torch_may_be_told_to(matching, blobs, monkeypatch):
    inside, distances = [], Gradient.distances

    @contextmanager
    def said(precision, device):
        inside.append((precision, device))
        yield
        inside.pop()

    def spied(*arguments):
        assert inside == [("fp32", "cpu")]
        yield from distances(*arguments)

    monkeypatch.setattr("dasm.matching.products", said)
    monkeypatch.setattr(Gradient, "distances", spied)
    run(matching, blobs, 2)
    assert inside == []


@pytest.mark.parametrize("learnt", [0, pytest.param(2, marks=pytest.mark.deep)])
def test_an_interrupted_run_ends_with_the_same_bytes(matching, blobs, tmp_path, learnt):
    """Stopped at every possible iteration, on and between network draws, fresh ones and such as know the prefix.

    It has then cost what it would have cost in one go, and a network that knows the prefix, which no checkpoint holds.
    """
    matching = replace(matching, objective=replace(matching.objective, prefix_steps=learnt, prefix_period=2))
    with metered() as cost:
        whole, history = run(matching, blobs, 7, prefix=blobs)
    assert cost.counts.flops > 0 and cost.counts.earlier_seconds == 0
    assert torch.equal(whole, run(matching, blobs, 7)[0]) == (learnt == 0), "without a prefix there is nothing to learn"
    for stop in range(1, 7):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt), metered() as first:
            run(matching, blobs, 7, prefix=blobs, checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        done = []
        with metered() as second:
            resumed, again = run(
                matching,
                blobs,
                7,
                prefix=blobs,
                checkpoint=Checkpoint(path, every_seconds=0.0),
                track=lambda work, done=done: (done.append(work), work)[1],
            )
        assert done == [range(stop, 7)], "it goes on where it was"
        assert 0 < second.counts.earlier_seconds <= first.seconds
        assert second.seconds > second.counts.earlier_seconds
        # The second network, of iteration 3, starts from what the first one had learnt.
        again_learnt = 16 * learnt * (stop <= 3)
        assert second.counts.forward_images == cost.counts.forward_images + again_learnt
        assert second.counts.backward_images == cost.counts.backward_images + again_learnt
        assert (second.counts.flops == cost.counts.flops) == (again_learnt == 0)
        assert torch.equal(resumed, whole)
        assert torch.equal(again, history)


def still(trainer, **options):
    """Whole images instead of batches, and no augmentation: within a period every iteration is like the one before."""
    objective = Gradient(real_batch=99, inner_iterations=3, network_images=0, augmentation=())
    return Matching(objective=objective, trainer=trainer, learning_rate=1e-9, **options)


def test_a_segment_ends_when_its_pixels_no_longer_come_closer(trainer, blobs):
    """Two windows of two whole periods each, because five iterations are no whole number of periods."""
    _, full = run(still(trainer), blobs, 40)
    assert len(full) == 40, "off by default"
    windows = full[:36].unflatten(0, (-1, 6)).double().mean(1)
    tolerance = 0.01
    falls = [bool(b < a * (1 - tolerance)) for a, b in pairwise(windows)]
    expected = 6 * (falls.index(False) + 2)
    pixels, history = run(still(trainer, patience=5, tolerance=tolerance), blobs, 40)
    assert len(history) == expected < 40
    assert torch.equal(history, full[:expected])
    shorter, _ = run(still(trainer), blobs, expected)
    assert torch.equal(pixels, shorter)


def test_a_segment_whose_pixels_come_closer_goes_to_its_end(matching, blobs):
    eager = replace(matching, patience=9, tolerance=0.0)
    _, full = run(matching, blobs, 27)
    means = full.unflatten(0, (3, 9)).mean(1)
    assert means[0] > means[1] > means[2]
    assert torch.equal(run(eager, blobs, 27)[1], full)


def test_a_segment_that_ends_early_ends_there_when_it_was_interrupted(trainer, blobs, tmp_path):
    patient = still(trainer, patience=3, tolerance=0.9)
    whole, history = run(patient, blobs, 20)
    assert len(history) == 6
    for stop in (2, 3, 5, 6):
        path = tmp_path / f"{stop}.safetensors"

        def stopping(work, stop=stop):
            for item in work:
                if item == stop:
                    raise KeyboardInterrupt
                yield item

        with pytest.raises(KeyboardInterrupt):
            run(patient, blobs, 20, checkpoint=Checkpoint(path, every_seconds=0.0), track=stopping)
        resumed, again = run(patient, blobs, 20, checkpoint=Checkpoint(path, every_seconds=0.0))
        assert torch.equal(resumed, whole) and torch.equal(again, history)


def test_what_is_not_finite_is_never_saved(trainer, blobs, tmp_path, monkeypatch):
    """Where a device is seldom looked at, a checkpoint is looked at before it is written."""
    monkeypatch.setattr(history_module, "_LOOK_EVERY", {})
    checkpoint = Checkpoint(tmp_path / "saved.safetensors", every_seconds=0.0)
    initial = torch.full((3, 2, 1, 8, 8), float("nan"))
    matching = Matching(objective=Gradient(real_batch=8, network_images=0), trainer=trainer, factor=1)
    for saved in (checkpoint, None):
        with pytest.raises(FloatingPointError, match="iteration 0: the distance is nan"):
            matching.optimise(initial, blobs, torch.ones(48), iterations=3, planned_ipc=10, stream=0, checkpoint=saved)
    assert not list(tmp_path.iterdir())


def test_pixels_that_the_last_update_spoils_are_not_frozen(matching, blobs, monkeypatch):
    monkeypatch.setattr(PixelSGD, "step", lambda self, _share: self._pixels[1].data.fill_(torch.nan))
    with pytest.raises(FloatingPointError, match=r"^iteration 0: the pixels are not finite after it$"):
        run(matching, blobs, 1)


def test_the_result_depends_on_the_stream_and_not_on_the_global_one(matching, blobs):
    first, _ = run(matching, blobs, 3)
    torch.manual_seed(123)
    second, _ = run(matching, blobs, 3)
    assert torch.equal(first, second)


def test_a_distance_that_is_not_finite_stops_the_run_and_names_the_iteration(trainer, blobs):
    objective = Gradient(metric="mse", real_batch=8, network_images=0)
    matching = Matching(objective=objective, trainer=trainer, factor=1, learning_rate=0.5)
    initial = torch.rand(3, 2, 1, 8, 8)
    initial[1, 0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="iteration 0: the distance is nan"):
        matching.optimise(initial, blobs, torch.ones(len(blobs)), iterations=2, planned_ipc=10, stream=0)


@pytest.mark.parametrize(
    ("network_images", "learns_from", "traceless"), [(0, "all", True), (32, "all", False), (32, "window", True)]
)
def test_only_windowed_images_are_matched(matching, blobs, network_images, learns_from, traceless):
    """Images outside the window may change without a trace where networks do not learn from all of R."""
    weights = torch.zeros(len(blobs))
    for c in range(3):
        weights[blobs.members(c)[:8]] = 1
    matching = Matching(
        objective=Gradient(real_batch=8, network_images=network_images),
        trainer=matching.trainer,
        factor=1,
        learning_rate=0.5,
        learns_from=learns_from,
    )
    other = blobs.images.clone()
    other[weights == 0] = 255 - other[weights == 0]
    initial = torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    results = []
    for images in (blobs.images, other):
        changed = type(blobs)(
            images=images, labels=blobs.labels, class_names=blobs.class_names, mean=blobs.mean, std=blobs.std
        )
        pixels, _ = matching.optimise(initial, changed, weights, iterations=4, planned_ipc=10, stream=0)
        results.append(pixels)
    assert torch.equal(*results) == traceless


def test_networks_learn_from_what_is_matched_or_from_all(trainer, blobs):
    """A window for the initial images alone is none for the networks; nothing of no weight is learnt, the rest once."""
    weights = torch.ones(len(blobs))
    weights[::3] = 0
    weights[1] = 0.5
    kept = [number for number in range(len(blobs)) if number % 3]

    def learnt(**options):
        return Matching(objective=Gradient(), trainer=trainer, **options).learnt(blobs, weights)

    assert torch.equal(learnt(learns_from="window").images, blobs.images[kept])
    assert torch.equal(learnt(learns_from="window").labels, blobs.labels[kept])
    assert learnt() is blobs and learnt(learns_from="window", windowed="initial") is blobs


def test_networks_that_learn_from_no_real_images_cannot_be_told_which(trainer):
    rule = r"^learns_from must be all for dm, whose networks learn from no real images, got 'window'$"
    with pytest.raises(ConfigError, match=rule):
        Matching(objective=DM(), trainer=trainer, learns_from="window")


def test_an_even_rate_makes_up_for_the_size_of_the_union(trainer, blobs):
    """Two new images beside six frozen ones: four times the rate, so in one update four times the way."""
    objective = Gradient(real_batch=8, network_images=0, augmentation=())
    plain = Matching(objective=objective, trainer=trainer, factor=1, learning_rate=1e-3, match_prefix=True)
    even = replace(plain, even_rate=True)
    initial = 0.25 + torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    frozen = [images[:6] for images in map(blobs.pixels, map(blobs.members, range(3)))]

    def moved(matching, frozen):
        about = {"iterations": 1, "planned_ipc": 8, "stream": 3, "frozen": frozen}
        return matching.optimise(initial, blobs, torch.ones(len(blobs)), **about)[0] - initial

    assert moved(plain, frozen).abs().max() > 1e-5
    torch.testing.assert_close(moved(even, frozen), 4 * moved(plain, frozen), rtol=1e-2, atol=1e-6)
    assert torch.equal(moved(even, ()), moved(plain, ())), "a first segment is the whole of its union"
    alone = even.effective(prefix=False, windowed=False)
    assert (
        alone == plain.effective(prefix=False, windowed=False) and even.effective(prefix=True, windowed=False) == even
    )


@pytest.mark.parametrize(("match_prefix", "matched"), [(False, 2), (True, 8)])
def test_the_rate_may_grow_with_the_images_that_are_matched(trainer, blobs, match_prefix, matched):
    """As if so many had been planned: those of a segment or a joint set, or of its union with six frozen ones."""
    objective = Gradient(real_batch=8, network_images=0, augmentation=())
    planned = Matching(objective=objective, trainer=trainer, factor=1, learning_rate=1e-3, match_prefix=match_prefix)
    initial = 0.25 + torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(0)) / 2
    frozen = [images[:6] for images in map(blobs.pixels, map(blobs.members, range(3)))]

    def moved(matching, planned_ipc, frozen=()):
        about = {"iterations": 2, "planned_ipc": planned_ipc, "stream": 3, "frozen": frozen}
        return matching.optimise(initial, blobs, torch.ones(len(blobs)), **about)[0]

    own = replace(planned, budget="matched")
    assert torch.equal(moved(own, 40, frozen), moved(planned, matched, frozen))
    assert torch.equal(moved(own, 40), moved(planned, 2)) and not torch.equal(moved(planned, 40), moved(planned, 2))
    assert own.effective(prefix=True, windowed=True) == own
    # A rate that grows with nothing is the same either way.
    steady = Matching(objective=DM(), trainer=trainer, budget="matched")
    assert steady.effective(prefix=True, windowed=True) == Matching(objective=DM(), trainer=trainer)


def test_what_concerns_a_union_is_refused_without_one(trainer):
    parted = Gradient(frozen_batch=8)
    for options, rule in (
        ({"objective": parted}, r"^match_prefix must be true for gradient with a frozen_batch, got False$"),
        ({"even_rate": True}, r"^match_prefix must be true with even_rate, which makes up for it, got False$"),
        (
            {"objective": NCFM(), "even_rate": True, "match_prefix": True},
            r"^even_rate must be false for ncfm, whose steps do not grow with the push, got True$",
        ),
    ):
        with pytest.raises(ConfigError, match=rule):
            Matching(**{"objective": Gradient(), "trainer": trainer} | options)
    segment = Matching(objective=parted, trainer=trainer, match_prefix=True)
    assert segment.effective(prefix=False, windowed=False).objective == Gradient()


def test_tiles_not_drawn_do_not_move():
    """Indices are drawn before decoding: what was not drawn has no gradient."""
    stored = torch.rand(2, 1, 8, 8, requires_grad=True)
    decode(stored, 2, torch.tensor([0])).sum().backward()
    assert stored.grad is not None
    assert stored.grad[0, 0, :4, :4].abs().min() > 0
    assert stored.grad[1].abs().max() == 0
    assert stored.grad[0, 0, 4:].abs().max() == 0


@pytest.mark.parametrize(
    ("option", "value"), [("factor", 0), ("learning_rate", 0.0), ("momentum", 1.0), ("patience", 0), ("tolerance", 1.0)]
)
def test_values_out_of_range_are_refused(trainer, option, value):
    with pytest.raises(ConfigError, match=option):
        Matching(objective=Gradient(), trainer=trainer, **{option: value})
