"""Less exact networks compute where they are told to, and nowhere else."""

import pytest
import torch

from dasm.chains import chain as chains
from dasm.errors import ConfigError
from dasm.evaluate import accuracy
from dasm.machine.precision import products
from dasm.networks import embed, fitting, predict
from dasm.networks.convnet import ConvNet
from dasm.networks.mlp import MLP
from dasm.plugins import build
from dasm.steps.together import train_all
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.handmade import equal_states
from tests.steps.test_capture import needs_gpu

pytestmark = pytest.mark.deep


@pytest.fixture
def flags():
    found = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [flag.allow_tf32 for flag in found]
    yield found
    for flag, value in zip(found, before, strict=True):
        flag.allow_tf32 = value


def trained(data, precision, network=None, steps=60):
    recipe = Recipe(batch_size=16, learning_rate=0.05, augmentation=("color", "crop"), precision=precision)
    return Trainer(network=network or ConvNet(width=8, depth=2), recipe=recipe).train(data, steps, stream=0)[0]


@pytest.mark.parametrize("network", [ConvNet(width=8, depth=2), ConvNet(width=8, norm="batch"), MLP(width=16)])
def test_sixteen_bits_differ_a_little_and_learn_as_well(task, network):
    exact, rounded = (trained(task.train, precision, network) for precision in ("fp32", "bf16"))
    assert all(parameter.dtype == torch.float32 for parameter in rounded.parameters())
    assert not equal_states(exact, rounded)
    assert accuracy(exact, task.test) > 0.9 and accuracy(rounded, task.test) > 0.9
    first, second = (trained(task.train, precision, network, steps=1) for precision in ("fp32", "bf16"))
    for name, weights in first.state_dict().items():
        torch.testing.assert_close(second.state_dict()[name], weights, rtol=0.05, atol=0.02)


def test_scores_are_computed_as_the_network_was_trained(task):
    network = trained(task.train, "bf16", steps=2)
    network.eval()
    with torch.no_grad():
        exact, features = network(task.test.inputs()), network.features(task.test.inputs())
    for found, full in ((predict(network, task.test), exact), (embed(network, task.test), features)):
        assert found.dtype == torch.float32
        assert not torch.equal(found, full), "called directly, the network rounds nothing"
        torch.testing.assert_close(found, full, rtol=0.1, atol=0.1)
    network.precision = "fp32"
    with torch.no_grad():
        written = network(task.test.inputs(), once=True)
    assert torch.equal(predict(network, task.test), written)
    torch.testing.assert_close(written, exact, rtol=1e-5, atol=1e-6)


def test_written_derivatives_are_not_asked_for_sixteen_bits(monkeypatch):
    """A batch that a CPU takes in parts would go through `dasm.chains.chain`."""
    monkeypatch.setitem(chains._PART_BYTES, "cpu", 1)
    data = make_blobs(8, 0)
    assert trained(data, "bf16", steps=2).precision == "bf16"
    assert not equal_states(trained(data, "bf16", steps=2), trained(data, "fp32", steps=2))


def test_on_a_cpu_tf32_is_full_precision(blobs):
    assert equal_states(trained(blobs, "fp32", steps=3), trained(blobs, "tf32", steps=3))


def test_networks_trained_together_round_alike(blobs):
    recipe = Recipe(batch_size=16, augmentation=(), precision="bf16")
    trainer = Trainer(network=ConvNet(width=4, depth=2), recipe=recipe)
    loop, together = (train_all(trainer, blobs, 2, [1, 2], training=kind) for kind in ("loop", "together"))
    for (one,), (other,) in zip(loop, together, strict=True):
        assert other.precision == "bf16"
        for name, weights in one.state_dict().items():
            torch.testing.assert_close(other.state_dict()[name], weights, rtol=0.02, atol=0.005)


@pytest.mark.parametrize(("precision", "rounds"), [("fp32", False), ("tf32", True), ("bf16", False)])
@pytest.mark.parametrize("before", [False, True])
def test_a_gpu_is_told_how_to_multiply_and_then_as_before(flags, precision, rounds, before):
    for flag in flags:
        flag.allow_tf32 = before
    with pytest.raises(RuntimeError, match="inside"), products(precision, "cuda"):
        assert [flag.allow_tf32 for flag in flags] == [rounds, rounds]
        raise RuntimeError("inside")
    assert [flag.allow_tf32 for flag in flags] == [before, before]
    with products(precision, "cpu"):
        assert [flag.allow_tf32 for flag in flags] == [before, before]


def test_a_precision_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match=r"recipe\.precision: must be one of fp32, tf32, bf16, got 'fp16'"):
        build(Recipe, {"precision": "fp16"}, "recipe")


def test_a_batch_takes_a_sixteenth_of_the_memory_free_or_not():
    network = ConvNet(width=8, depth=2).build((3, 16, 16), 4, 0)
    one = torch.zeros(1, 3, 16, 16)
    largest = 8 * 16 * 16 * 4
    assert fitting(network, one, 16 * 100 * largest) == 100
    assert fitting(network, one, 16 * 100 * largest - 1) == 99
    assert fitting(network, one, 1) == 1
    assert fitting(network, one, 1 << 60) == (1 << 30) // (8 * 16 * 16), "no kernel counts beyond 32 bits"


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_on_a_gpu_every_precision_learns(task, precision):
    network = trained(task.train.to("cuda"), precision)
    assert accuracy(network, task.test.to("cuda")) > 0.9
