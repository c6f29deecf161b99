"""Steps out of fixed buffers are those of `Learner.step`; what a recording replays on a GPU is run as it is here."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch

from dasm.errors import ConfigError
from dasm.experts import Experts
from dasm.machine import counts
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.steps.capture import Captured
from dasm.steps.draws import BLOCK, Plan, at_once, block
from dasm.steps.orders import epoch_batch
from dasm.steps.stepper import Stepper
from dasm.train import Learner, Recipe, Trainer
from dasm.types import LabelledImages
from tests.conftest import make_blobs
from tests.handmade import equal_states
from tests.pretended import replaying, stand_in

pytestmark = pytest.mark.deep

ALL = ("flip", "color", "crop", "scale", "rotate", "cutout")
RECIPES = {
    "everything": Recipe(batch_size=20, learning_rate=0.05, augmentation=ALL, cutmix=0.5),
    "no momentum": Recipe(batch_size=7, learning_rate=0.1, momentum=0.0, weight_decay=0.1, cutmix=1.0),
    "plain": Recipe(batch_size=64, learning_rate=0.05, augmentation=(), cutmix=0.0),
}
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def lent(trainer: Trainer, data: LabelledImages, runs: list[range], captured: Captured | None = None, stream: int = 1):
    """A learner whose steps are all taken out of fixed buffers."""
    learner = trainer.start(data, stream)
    captured = captured or Captured()
    for steps in runs:
        recipe = trainer.recipe
        momenta = captured.run(learner.network, learner._buffers, recipe, data, steps, 5, 0.05)
        learner._buffers = [*momenta] if recipe.momentum else learner._buffers
    return learner


def looped(trainer: Trainer, data: LabelledImages, steps: int, stream: int = 1):
    learner = trainer.start(data, stream)
    for step in range(steps):
        learner.step(data, step, 5, 0.05)
    return learner


def assert_alike(first, second, tolerance: float) -> None:
    assert first.tensors().keys() == second.tensors().keys()
    for name, value in first.tensors().items():
        apart = (value - second.tensors()[name]).abs().max() / value.abs().max().clamp(min=1e-30)
        assert apart <= tolerance, name


@pytest.mark.parametrize(
    ("recipe", "soft"), [(RECIPES["everything"], True), (RECIPES["no momentum"], False), (RECIPES["plain"], False)]
)
def test_a_hundred_steps_out_of_fixed_buffers_are_those_of_the_loop(double, recipe, soft):
    data = double(make_blobs(16, 0))
    if soft:
        data = replace(data, targets=torch.rand(48, 3, generator=torch.Generator().manual_seed(0)).softmax(1))
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=recipe)
    assert_alike(lent(trainer, data, [range(100)]), looped(trainer, data, 100), 1e-9)


@pytest.mark.parametrize("network", [ConvNet(width=4, depth=2), ConvNet(width=4, norm="batch"), MLP(width=8)])
def test_in_single_precision_each_of_a_hundred_steps_is_that_of_the_loop(blobs, network):
    """Each from where the loop is: over many steps, training enlarges any rounding."""
    trainer, captured = Trainer(network=network, recipe=RECIPES["everything"]), Captured()
    loop, other = trainer.start(blobs, 1), trainer.start(blobs, 2)
    for step in range(100):
        other.restore({name: value.clone() for name, value in loop.tensors().items()})
        other._buffers = captured.run(
            other.network, other._buffers, trainer.recipe, blobs, range(step, step + 1), 5, 0.01
        )
        loop.step(blobs, step, 5, 0.01)
        assert_alike(loop, other, 1e-4)


def test_a_network_drawn_anew_is_copied_into_the_buffers_and_starts_without_momentum(blobs):
    trainer, captured = Trainer(network=ConvNet(width=4, norm="batch"), recipe=RECIPES["everything"]), Captured()
    first = lent(trainer, blobs, [range(9)], captured, stream=1)
    kept = {name: value.clone() for name, value in first.tensors().items()}
    (recorded,) = {id(captured._stepper)}
    second = lent(trainer, blobs, [range(9)], captured, stream=2)
    assert id(captured._stepper) == recorded
    fresh = lent(trainer, blobs, [range(9)], stream=2)
    assert equal_states(second.network, fresh.network)
    assert all(torch.equal(a, b) for a, b in zip(second._buffers, fresh._buffers, strict=True))
    assert all(torch.equal(value, kept[name]) for name, value in first.tensors().items()), "a learner keeps its own"


def test_a_run_cut_and_put_back_anywhere_ends_with_the_same_bytes(blobs):
    trainer = Trainer(network=ConvNet(width=4, norm="batch"), recipe=RECIPES["everything"])
    whole = lent(trainer, blobs, [range(2 * BLOCK + 5)])
    for cut in (1, BLOCK - 1, BLOCK, BLOCK + 1):
        half = lent(trainer, blobs, [range(cut)])
        other = trainer.start(blobs, 77)
        other.restore(half.tensors())
        momenta = Captured().run(
            other.network, other._buffers, trainer.recipe, blobs, range(cut, 2 * BLOCK + 5), 5, 0.05
        )
        assert equal_states(whole.network, other.network)
        assert all(torch.equal(a, b) for a, b in zip(whole._buffers, momenta, strict=True))


def test_another_set_another_size_and_another_stream_are_noticed(blobs):
    trainer, captured = Trainer(network=MLP(width=4), recipe=RECIPES["everything"]), Captured()
    lent(trainer, blobs, [range(3)], captured)
    for data in (make_blobs(16, 3), make_blobs(2, 4), blobs):
        assert_alike(lent(trainer, data, [range(3)], captured), looped(trainer, data, 3), 1e-5)
    first, second = (trainer.start(blobs, 1) for _ in range(2))
    for learner, stream in ((first, 5), (second, 6)):
        captured.run(learner.network, learner._buffers, trainer.recipe, blobs, range(2), stream, 0.05)
    assert not equal_states(first.network, second.network)


def test_images_and_operations_are_counted_once(blobs):
    trainer = Trainer(network=MLP(width=4, depth=1), recipe=RECIPES["everything"])
    found = []
    for run in (lambda: lent(trainer, blobs, [range(4)]), lambda: looped(trainer, blobs, 4)):
        with counts.counting(counts.Counts()):
            found.append(counts.Counts())
            with counts.counting(found[-1]):
                run()
    # 48 images in batches of 20, 20, 8, then 20 of the next epoch; 64 x 4 and 4 x 3 weights.
    assert found[0] == found[1]
    assert found[0] == counts.Counts(forward_images=68, backward_images=68, flops=3 * 68 * 2 * (64 * 4 + 4 * 3))


def always_replayed(monkeypatch) -> None:
    take = Stepper._take
    monkeypatch.setattr(Stepper, "_take", lambda self, *sizes, replayed: take(self, *sizes, replayed=True))


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (RuntimeError("not permitted when stream is capturing\nlong advice"), "not permitted when stream is capturing"),
        (torch.OutOfMemoryError("CUDA out of memory"), None),
    ],
)
def test_a_step_that_cannot_be_recorded_is_refused_in_one_line(blobs, monkeypatch, raised, told):
    @contextmanager
    def recording(_graph):
        yield
        raise raised

    always_replayed(monkeypatch)
    stand_in(monkeypatch, recording)
    trainer = Trainer(network=MLP(width=4), recipe=RECIPES["plain"])
    with pytest.raises(ConfigError if told else torch.OutOfMemoryError) as refused:
        lent(trainer, blobs, [range(1)])
    if told:
        assert str(refused.value).endswith(f"got '{told}' (captured: false takes any step)")
        assert "\n" not in str(refused.value)


def test_a_recording_leaves_no_trace_but_itself(blobs, monkeypatch):
    """Warm-up steps move everything, and while a graph is recorded nothing runs: here by putting everything back."""
    trainer = Trainer(network=ConvNet(width=4, norm="batch"), recipe=RECIPES["everything"])
    expected = lent(trainer, blobs, [range(BLOCK + 3)])
    always_replayed(monkeypatch)
    cost = counts.Counts()
    with replaying(monkeypatch) as recorded:
        with counts.counting(cost):
            found = lent(trainer, blobs, [range(5), range(5, BLOCK + 3)], trainer._captured)
        assert recorded == [20, 8], "one for whole batches and one for the last of an epoch"
        assert equal_states(found.network, expected.network)
        assert all(torch.equal(a, b) for a, b in zip(found._buffers, expected._buffers, strict=True))
        assert cost.forward_images == cost.backward_images == sum(plan().size(step) for step in range(BLOCK + 3))
        lent(trainer, make_blobs(16, 3), [range(1)], trainer._captured)
        assert recorded == [20, 8, 20], "another set is recorded anew"


@pytest.mark.parametrize(("weights", "recordings"), [([1.0] * 48, 2), ([1.0, 0.0] * 24, 2), ([1.0, 2.0] * 24, 0)])
def test_the_experts_of_a_state_share_their_recordings(blobs, monkeypatch, weights, recordings):
    """Whole batches and the last of an epoch, once; a soft window shows another set in every epoch."""
    trainer = Trainer(network=ConvNet(width=4), recipe=RECIPES["everything"])
    experts = Experts(trainer=trainer, number=3, epochs=4, prefix_steps=0)

    def steps(self, data, first, count, stream, rate):  # as on a GPU
        run = range(first, first + count)
        self._buffers = self._captured.run(self.network, self._buffers, self._recipe, data, run, stream, rate)

    monkeypatch.setattr(Learner, "steps", steps)
    always_replayed(monkeypatch)
    with replaying(monkeypatch) as recorded:
        found = list(experts.train(blobs, torch.tensor(weights), 0, 5))
    assert len(recorded) == recordings and len({float(rows[-1].sum()) for rows in found}) == 3


def plan(count: int = 48, size: int = 20, cutmix: float = 0.5) -> Plan:
    return Plan(
        count=count,
        batch_size=size,
        image_shape=(1, 8, 6),
        augmentation=("crop",),
        cutmix=cutmix,
        device="cpu",
        dtype=torch.float32,
    )


def test_a_block_holds_the_draws_of_every_network_in_its_place():
    together, alone = block(plan(), 1, [3, 4]), [block(plan(), 1, [stream]) for stream in (3, 4)]
    for number, one in enumerate(alone):
        assert torch.equal(together.indices[:, number], one.indices[:, 0])
        assert torch.equal(together.box[:, number], one.box[:, 0])
        mine = together.transform.shift.unflatten(0, (BLOCK, 2, 20))[:, number].flatten(0, 1)
        assert torch.equal(mine, one.transform.shift)
    assert not torch.equal(alone[0].indices, alone[1].indices)


def test_the_last_batch_of_an_epoch_is_only_filled_up():
    drawn = block(plan(), 0, [3])
    for step in range(BLOCK):
        n = plan().size(step)
        assert n == (8 if step % 3 == 2 else 20)
        assert torch.equal(drawn.indices[step, 0, :n], epoch_batch(48, 20, step, 3))
        assert sorted(drawn.partners[step, 0, :n].tolist()) == list(range(n))


def drawn_at_once(cutmix: float, steps: int = 600, n: int = 9):
    sizes = torch.tensor([n, n, 4]).repeat(steps // 3)
    indices = torch.zeros(steps, n, dtype=torch.long)
    return at_once(plan(22, n, cutmix), torch.Generator().manual_seed(0), indices, sizes), sizes


def test_draws_at_once_have_the_distribution_of_those_step_by_step():
    drawn, sizes = drawn_at_once(1.0)
    slow = torch.cat([block(plan(22, 9, 1.0), number, [0]).share for number in range(19)])
    assert drawn.share.mean().item() == pytest.approx(slow.mean().item(), abs=0.04)
    assert drawn.share.std().item() == pytest.approx(slow.std().item(), abs=0.03)
    top, bottom, left, right = drawn.box[:, 0].unbind(1)
    torch.testing.assert_close(1 - (bottom - top) * (right - left) / 48.0, drawn.share[:, 0].float())
    assert (top <= bottom).all() and (left <= right).all() and bottom.max() == 8 and right.max() == 6
    for row, size in zip(drawn.partners[:, 0], sizes.tolist(), strict=True):
        assert sorted(row[:size].tolist()) == list(range(size))
    assert set(drawn.transform.shift[:, 0].tolist()) == {-1, 0, 1}


def test_cutmix_comes_as_often_at_once():
    for probability in (0.0, 0.3):
        drawn, _ = drawn_at_once(probability)
        assert (drawn.share < 1).double().mean().item() == pytest.approx(probability, abs=0.07)
        top, bottom, left, right = drawn.box.unbind(2)
        assert torch.equal((bottom - top) * (right - left) == 0, drawn.share == 1)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_steps_on_a_cpu_are_the_loop_bit_for_bit(blobs, recipe):
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=recipe)
    learner = trainer.start(blobs, 1)
    learner.steps(blobs, 0, 7, 5, 0.05)
    assert equal_states(learner.network, looped(trainer, blobs, 7).network)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("network", [ConvNet(width=16), ConvNet(width=16, norm="batch"), MLP(width=16)])
def test_replayed_steps_are_those_launched_one_by_one(network):
    """Each from where the other is, as above; a run of replays is then exactly the replays one by one."""
    data = make_blobs(60, 0, side=16, channels=3).to("cuda")
    replayed, launched = (
        Trainer(network=network, recipe=Recipe(batch_size=50, learning_rate=0.01, captured=captured))
        for captured in (True, False)
    )
    first, second = replayed.start(data, 1), launched.start(data, 2)
    for step in range(100):
        second.restore(first.tensors())
        for learner in (first, second):
            learner.steps(data, step, 1, 5, 0.01)
        assert_alike(first, second, 1e-4)
    in_runs = replayed.start(data, 1)
    for step in range(0, 100, 25):
        in_runs.steps(data, step, 25, 5, 0.01)
    assert equal_states(in_runs.network, first.network)
    assert len(replayed._captured._stepper._graphs) == 2, "batches of 50 and of 30"


@pytest.mark.gpu
@needs_gpu
def test_a_network_drawn_anew_is_not_recorded_anew():
    data = make_blobs(60, 0).to("cuda")
    trainer = Trainer(network=ConvNet(width=8, depth=2), recipe=Recipe(batch_size=60))
    trainer.start(data, 1).steps(data, 0, 5, 5, 0.01)
    before = {n: id(graph) for n, (graph, _) in trainer._captured._stepper._graphs.items()}
    found = [trainer.start(data, 2) for _ in range(2)]
    for learner in found:
        learner.steps(data, 5, 5, 5, 0.01)
    assert before == {n: id(graph) for n, (graph, _) in trainer._captured._stepper._graphs.items()}
    assert equal_states(found[0].network, found[1].network)
