"""Written derivatives against autograd, which is slow and knows nothing of them."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dasm.chains import chain as chains
from dasm.chains.chain import Chain
from dasm.chains.stem import Stem
from dasm.machine.counts import Counts, counting
from dasm.networks import Classifier
from dasm.networks.convnet import ConvNet
from dasm.networks.lenet import LeNet
from dasm.networks.mlp import MLP
from dasm.objective_parts.classwise import chain_distance, chain_gradients
from tests.handmade import with_batch_norm

CLASSES = 4


def strided():
    """Every option at once: a stem with stride, normalisation before the first convolution, padding, overlap."""
    body = nn.Sequential(
        nn.GroupNorm(2, 2),
        nn.Conv2d(2, 5, 3, stride=2, padding=(1, 0), bias=False),
        nn.Sequential(nn.GroupNorm(5, 5), nn.ReLU(), nn.MaxPool2d(3, stride=2, padding=1)),
        nn.Conv2d(5, 3, (1, 2)),
        nn.ReLU(),
        nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
        nn.Flatten(),
        nn.Linear(45, 7),
        nn.ReLU(),
    )
    return Classifier(body, nn.Linear(7, CLASSES)), (2, 13, 11)


def stemmed():
    """A first convolution with a bias, stride and uneven padding, and windows that leave a row and a column out."""
    body = nn.Sequential(
        nn.Conv2d(2, 14, (3, 2), stride=(2, 1), padding=(1, 0)),
        nn.GroupNorm(14, 14, eps=1e-2),
        nn.Sequential(nn.ReLU(), nn.AvgPool2d((2, 3))),
        nn.Conv2d(14, 6, 2),
        nn.GroupNorm(6, 6),
        nn.ReLU(),
        nn.AvgPool2d(2, divisor_override=3),
        nn.Flatten(),
    )
    return Classifier(body, nn.Linear(6, CLASSES)), (2, 13, 11)


def windowed():
    """Means of windows that are not square, that begin outside, and that end outside."""
    body = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d((2, 3)),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
        nn.AvgPool2d(2, padding=1),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
        nn.AvgPool2d(2, ceil_mode=True),
        nn.Flatten(),
    )
    return Classifier(body, nn.Linear(16, CLASSES)), (2, 8, 12)


def built(network, shape):
    return network.build(shape, CLASSES, stream=5), shape


NETWORKS = {
    "convnet": lambda: built(ConvNet(width=3, depth=2), (1, 8, 8)),
    "convnet without norm": lambda: built(ConvNet(width=3, depth=2, norm="none"), (3, 8, 8)),
    "stem": lambda: built(ConvNet(width=12, depth=2), (1, 8, 8)),
    "stem with everything": stemmed,
    "windows": windowed,
    "odd sides": lambda: built(ConvNet(width=4, depth=3), (3, 13, 9)),
    "lenet": lambda: built(LeNet(), (1, 14, 12)),
    "strided": strided,
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS.keys())
def case(request, double):  # noqa: ARG001 - 64-bit
    """A network with weights like trained ones, and images of its shape."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network, shape = request.param()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.2)
        images = torch.randn(CLASSES - 1, 3, *shape)
    return network, images


def convolutions(network):
    return [parameter for parameter in network.parameters() if parameter.dim() == 4]


def close(found, expected):
    atol = 1e-10 * float(expected.detach().abs().max()) + 1e-14
    torch.testing.assert_close(found.detach(), expected.detach(), rtol=1e-9, atol=atol)


def test_logits_and_parameter_gradients_are_those_of_autograd(case, monkeypatch):
    network, images = case
    images, labels = images.flatten(0, 1), torch.arange(9) % CLASSES
    expected = network(images)
    slow = torch.autograd.grad(F.cross_entropy(expected, labels), list(network.parameters()))
    for part in (1 << 30, 4 * images[0].numel() * 8 * 5, 1):
        monkeypatch.setitem(chains._PART_BYTES, "cpu", part)
        logits = network.chain()(images)
        close(logits, expected)
        fast = torch.autograd.grad(F.cross_entropy(logits, labels), list(network.parameters()))
        for mine, theirs in zip(fast, slow, strict=True):
            close(mine, theirs)


@pytest.mark.parametrize("part", [1 << 30, 1])
def test_class_gradients_and_their_pixel_gradient_are_those_of_autograd(case, monkeypatch, part):
    """Each class has a direction of its own, so a mix-up of classes shows."""
    network, images = case
    monkeypatch.setitem(chains._PART_BYTES, "cpu", part)
    labels = torch.tensor([2, 0, 3])
    slow_images = images.clone().requires_grad_()
    slow = []
    for batch, label in zip(slow_images, labels, strict=True):
        loss = F.cross_entropy(network(batch), label.repeat(len(batch)))
        slow.append(torch.autograd.grad(loss, convolutions(network), create_graph=True))
    per_layer = [torch.cat(parts) for parts in zip(*slow, strict=True)]
    directions = [torch.randn(g.shape, generator=torch.Generator().manual_seed(i)) for i, g in enumerate(per_layer)]
    (expected,) = torch.autograd.grad(
        sum((g * v).sum() for g, v in zip(per_layer, directions, strict=True)), slow_images
    )

    chain = network.chain()
    for mine, theirs in zip(chain_gradients(chain, images, labels), per_layer, strict=True):
        close(mine, theirs.detach())
    fast_images = images.clone().requires_grad_()
    value = chain_distance(
        chain, fast_images, labels, directions, lambda g, v: sum((a * b).sum() for a, b in zip(g, v, strict=True))
    )
    close(value.detach(), sum((g * v).sum() for g, v in zip(per_layer, directions, strict=True)).detach())
    (found,) = torch.autograd.grad(3 * value, fast_images)
    close(found, 3 * expected)


def test_nothing_is_written_into_images_or_weights(case):
    network, images = case
    kept, weights = images.clone(), [p.detach().clone() for p in network.parameters()]
    once = images.clone().requires_grad_()
    target = chain_gradients(network.chain(), images, torch.tensor([2, 0, 3]))
    chain_distance(
        network.chain(),
        once,
        torch.tensor([2, 0, 3]),
        target,
        lambda g, v: sum((a - b).square().sum() for a, b in zip(g, v, strict=True)),
    )
    assert torch.equal(images, kept) and torch.equal(once, kept)
    assert all(torch.equal(p, w) for p, w in zip(network.parameters(), weights, strict=True))
    assert all(p.grad is None for p in network.parameters())


def test_the_chain_sees_weights_as_they_are_when_it_is_taken(case):
    network, images = case
    before = network.chain()(images[0])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    close(network.chain()(images[0]), network(images[0]))
    assert not torch.allclose(before, network(images[0]))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 1)

    def forward(self, x):
        return x + self.conv(x)


class Loud(nn.ReLU):
    def forward(self, x):
        return super().forward(x) * 2


@pytest.mark.parametrize(
    "module",
    [
        Residual(),
        Loud(),
        nn.BatchNorm2d(1),
        nn.Dropout(),
        nn.GroupNorm(1, 2),
        nn.GroupNorm(2, 2, affine=False),
        nn.Conv2d(2, 2, 1, groups=2),
        nn.Conv2d(1, 1, 3, dilation=2),
        nn.Conv2d(1, 1, 3, padding="same"),
        nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"),
        nn.Flatten(2),
        nn.MaxPool2d(2, return_indices=True),
    ],
    ids=lambda module: repr(module).partition("\n")[0],
)
def test_what_has_no_written_derivative_is_no_chain(module):
    assert Chain.of(nn.Sequential(nn.Conv2d(1, 1, 1), module), nn.Linear(2, 2)) is None


def test_a_network_that_is_no_chain_gives_its_logits_all_the_same():
    network, images = with_batch_norm(), torch.rand(2, 1, 8, 8)
    assert network.chain() is None
    assert torch.equal(network.eval()(images, once=True), network(images))


def test_a_chain_without_convolutions_learns_and_has_no_class_gradients(double):  # noqa: ARG001
    network, images = MLP(width=4).build((1, 8, 8), CLASSES, 0), torch.rand(5, 1, 8, 8)
    slow, fast = (
        torch.autograd.grad(way(images).square().sum(), list(network.parameters()))
        for way in (network, network.chain())
    )
    for mine, theirs in zip(fast, slow, strict=True):
        close(mine, theirs)


@pytest.mark.parametrize(("norm", "part", "written"), [("instance", 3, True), ("none", 3, False), ("none", 2, True)])
def test_autograd_takes_what_it_is_faster_at(monkeypatch, norm, part, written):
    """That is a batch that fits in one part, unless it is normalised, and all that may be differentiated twice."""
    network = ConvNet(width=3, depth=1, norm=norm).build((1, 8, 8), CLASSES, 0)
    images = torch.rand(3, 1, 8, 8)
    monkeypatch.setitem(chains._PART_BYTES, "cpu", part * 3 * 8 * 8 * 4)
    assert (type(network(images, once=True).grad_fn).__name__ == "_LogitsBackward") == written
    assert type(network(images).grad_fn).__name__ != "_LogitsBackward"


def stem_of(network):
    return [layer for layer in network.chain().run(torch.rand(2, 1, 8, 8))._layers if isinstance(layer, Stem)]


def test_a_stem_is_taken_where_patches_are_smaller_than_what_is_made_of_them():
    assert len(stem_of(ConvNet(width=10, depth=2).build((1, 8, 8), CLASSES, 0))) == 1
    assert not stem_of(ConvNet(width=9, depth=2).build((1, 8, 8), CLASSES, 0))
    assert not stem_of(ConvNet(width=10, depth=2, norm="none").build((1, 8, 8), CLASSES, 0))


@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_a_stem_gives_what_it_makes_in_the_memory_format_asked_for(order):
    """That of a CPU and that of a GPU."""
    network, images = ConvNet(width=12, depth=1).build((1, 8, 8), CLASSES, 0), torch.rand(3, 1, 8, 8)
    convolution, norm = network.chain().modules[:2]
    stem = Stem(convolution, norm, order)
    assert stem.forward(images).is_contiguous(memory_format=order)
    torch.testing.assert_close(stem.forward(images), norm(convolution(images)))
    stem.stop(torch.rand(3, 12, 8, 8).contiguous(memory_format=order))
    stem.turn(torch.rand(3, 12, 1, 3, 3))
    assert stem.tangent(None).is_contiguous(memory_format=order)


def test_a_stem_keeps_its_digits_where_a_filter_cancels_nearly_everything():
    """Smooth images and a filter that sees only what is rough in them; with the covariance in 32 bits, 6e-5."""
    network = ConvNet(width=12, depth=1).build((1, 16, 16), CLASSES, 0)
    (convolution,) = (module for module in network.modules() if isinstance(module, nn.Conv2d))
    with torch.no_grad():
        convolution.weight.copy_(torch.tensor([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]).expand(12, 1, 3, 3))
    slope = torch.linspace(-20, 20, 16)
    images = slope[:, None] + slope + 3e-3 * torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    found = network.chain()(images).detach()
    expected = network.double()(images.double()).detach()
    assert (found - expected).abs().max() < 5e-6 * expected.abs().max()


def test_a_stem_counts_what_torch_counts():
    from torch.utils.flop_counter import FlopCounterMode

    network = ConvNet(width=12, depth=2).build((1, 8, 8), CLASSES, 0)
    images, labels = torch.rand(2, 3, 1, 8, 8), torch.tensor([0, 2])
    counts = Counts()
    with counting(counts), FlopCounterMode(display=False) as counter:
        target = chain_gradients(network.chain(), images, labels)
        once = images.clone().requires_grad_()
        chain_distance(network.chain(), once, labels, target, lambda g, v: (g[0] - v[0]).square().sum() + g[1].sum())
    assert counts.flops == pytest.approx(counter.get_total_flops(), rel=0.03), "products of weights alone are left out"


def test_no_more_than_a_part_is_in_flight_at_once(monkeypatch):
    network = ConvNet(width=3, depth=1).build((1, 8, 8), CLASSES, 0)
    largest = 3 * 8 * 8 * 4
    monkeypatch.setitem(chains._PART_BYTES, "cpu", 5 * largest + 1)
    assert network.chain().part((1, 8, 8)) == 5
    monkeypatch.setitem(chains._PART_BYTES, "cpu", largest - 1)
    assert network.chain().part((1, 8, 8)) == 1


def test_operations_are_counted_by_hand(monkeypatch):
    """A multiply-add is two; the gradient of the images is not asked for, the other gradients cost one pass each."""
    network = ConvNet(width=4, depth=2).build((3, 8, 8), CLASSES, 0)
    images, labels = torch.rand(6, 3, 8, 8), torch.arange(6) % CLASSES
    monkeypatch.setitem(chains._PART_BYTES, "cpu", 4 * 4 * 8 * 8 * 4)
    first, second, head = (2 * 6 * n for n in (8 * 8 * 4 * 27, 4 * 4 * 4 * 36, 16 * CLASSES))
    counts = Counts()
    with counting(counts):
        logits = network(images, once=True)
        assert counts.flops == first + second + head
        torch.autograd.grad(F.cross_entropy(logits, labels), list(network.parameters()))
    assert counts.flops == 2 * first + 3 * second + 3 * head
    counts = Counts()
    with counting(counts):
        target = chain_gradients(network.chain(), images[None], labels[:1])
    assert counts.flops == 2 * first + 3 * second + 2 * head
    assert (counts.forward_images, counts.backward_images) == (6, 6)
    counts = Counts()
    with counting(counts):
        chain_distance(network.chain(), images[None], labels[:1], target, lambda g, v: (g[0] * v[0]).sum() + g[1].sum())
    # On top of the first order: along the direction, and back, for the weights and (below them) for the tangent.
    assert counts.flops == (2 + 3) * first + (3 + 4) * second + (2 + 2) * head


def test_a_network_that_is_dropped_is_not_kept_for_its_sizes():
    network = ConvNet(width=4, depth=1).build((1, 8, 8), 3, 0)
    body, chain = weakref.ref(network.body), Chain.of(network.body, network.head)
    assert chain is not None
    chain.part((1, 8, 8))
    del network, chain
    gc.collect()
    assert body() is None
