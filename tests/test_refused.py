"""What the pretended card refuses as a real one would, and what it lets pass."""

import pytest
import torch
import torch.nn.functional as F

from tests.pretended import pretended, recording

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")


@pytest.fixture
def card(monkeypatch):
    with pretended(monkeypatch):
        yield


def images(side=8):
    return torch.rand(2, 3, side, side, device="cuda")


def slope(function, x):
    x = x.requires_grad_()
    return torch.autograd.grad(function(x).sum(), x)


def grid():
    return torch.rand(2, 5, 5, 2, device="cuda")


def places(*at):
    return torch.tensor(at, device="cuda")


REFUSED = {
    "bilinear": lambda: slope(lambda x: torch._C._nn.upsample_bilinear2d(x, [16, 16], False), images()),
    "grid_sample": lambda: slope(lambda x: F.grid_sample(x, grid(), align_corners=False), images()),
    "adaptive average": lambda: slope(lambda x: F.adaptive_avg_pool2d(x, 3), images()),
    "adaptive maximum": lambda: slope(lambda x: F.adaptive_max_pool2d(x, 3), images()),
    "average in three": lambda: slope(lambda x: F.avg_pool3d(x[None], 2), images()),
    "reflection": lambda: slope(lambda x: F.pad(x[0], (1, 1), mode="reflect"), images()),
    "loss of pixels": lambda: F.cross_entropy(images(), torch.zeros(2, 8, 8, dtype=torch.long, device="cuda")),
    "cumsum": lambda: images().cumsum(0),
    "histc": lambda: images().histc(4),
    "bincount": lambda: places(0, 1).bincount(torch.rand(2, device="cuda")),
    "median": lambda: images().median(dim=0),
    "put_": lambda: images().put_(places(0), torch.rand(1, device="cuda")),
    "unpooling": lambda: F.max_unpool2d(*F.max_pool2d(images(), 2, return_indices=True), 2),
    "scatter_reduce": lambda: images().scatter_reduce(0, torch.zeros_like(images()).long(), images(), "prod"),
}
ALLOWED = {
    "average": lambda: slope(lambda x: F.adaptive_avg_pool2d(x, 1), images()),
    "maximum": lambda: slope(lambda x: F.max_pool2d(x, 2), images()),
    "nearest": lambda: slope(lambda x: F.interpolate(x, scale_factor=2), images()),
    "zeros around": lambda: slope(lambda x: F.pad(x, (1, 1)), images()),
    "index": lambda: slope(lambda x: x[places(0, 0, 1)], images()),
    "gather": lambda: slope(lambda x: x.gather(0, torch.zeros_like(x).long()), images()),
    "loss": lambda: slope(lambda x: F.cross_entropy(x.flatten(1), places(0, 1)), images()),
    "forward": lambda: F.grid_sample(images(), grid(), align_corners=False),
    "sums of whole numbers": lambda: places(1, 2).cumsum(0),
    "a count": lambda: places(0, 1).bincount(),
    "the number alone": lambda: images().median(),
    "sums": lambda: images().scatter_add(0, torch.zeros_like(images()).long(), images()),
}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", REFUSED)
def test_what_would_not_repeat_itself_is_refused(name):
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        REFUSED[name]()
    torch.set_deterministic_debug_mode("default")
    REFUSED[name]()


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", ALLOWED)
def test_what_repeats_itself_is_not(name):
    ALLOWED[name]()


STAYS = {
    "number": lambda x: x.sum().item(),
    "truth": lambda x: bool((x > 0).all()),
    "places": lambda x: (x > 0).nonzero(),
    "chosen": lambda x: x[x > 0],
    "equal": lambda x: torch.equal(x, x),
    "repeats": lambda x: x.repeat_interleave(places(1, 2), 0),
    "to the host": lambda x: x.cpu(),
    "list": lambda x: x.tolist(),
    "from the host": lambda x: x + torch.ones(2, 3, 8, 8).to("cuda"),
    "made of numbers": lambda x: x + torch.tensor(1.0, device="cuda"),
    "scalar on the host": lambda x: x * torch.ones(()),
    "pinned": lambda x: torch.ones(2).pin_memory(),
    "dropout": lambda x: F.dropout(x, 0.5),
    "torch's own draw": lambda x: torch.rand_like(x),
    "own draw": lambda x: torch.rand(2, device="cuda"),
}
GOES_IN = {
    "step": lambda x: slope(lambda y: F.conv2d(y, torch.ones(1, 3, 3, 3, device="cuda")), x),
    "made there": lambda x: x + torch.arange(8, device="cuda") + torch.zeros(8, device=x.device),
    "by a number": lambda x: x.mul_(2.0).add_(x, alpha=0.5),
    "index": lambda x: x[x[:, 0, 0, 0].long()],
    "filled under a mask": lambda x: x.masked_fill(x > 0, 0.0),
    "repeats": lambda x: x.repeat_interleave(2, 0),
    "no dropout": lambda x: F.dropout(x, 0.0),
}


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", STAYS)
def test_what_a_graph_cannot_hold_is_refused_while_one_is_recorded(name):
    x = images()
    STAYS[name](x)
    with recording(), pytest.raises(RuntimeError, match="a CUDA graph cannot hold"):
        STAYS[name](x)
    STAYS[name](x)


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("name", GOES_IN)
def test_what_it_can_hold_is_not(name):
    x = images()
    with recording():
        GOES_IN[name](x)
