"""Nothing in an iteration makes a GPU wait: no number is read out of a tensor, and nothing is copied to the device."""

from dataclasses import replace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from dasm import history
from dasm.matching import Matching
from dasm.objective_parts import shared
from dasm.objectives.dc import DC
from dasm.objectives.dm import DM
from dasm.objectives.dsa import DSA
from dasm.objectives.gradient import Gradient
from dasm.objectives.sre2l import SRe2L
from dasm.types import LabelledImages

pytestmark = pytest.mark.deep

# What reads numbers out of a tensor, or makes a tensor whose size depends on them.
READING = {"item", "tolist", "numpy", "cpu", "cuda", "__bool__", "__int__", "__float__", "__index__", "__contains__"}
READING |= {"nonzero", "argwhere", "masked_select", "unique", "equal", "allclose", "is_nonzero", "tensor", "as_tensor"}


class Watching(TorchFunctionMode):
    """Notes what would make a GPU wait: calls from Python, on whatever device; it does not see into backward passes."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        name, kwargs = getattr(func, "__name__", str(func)), kwargs or {}
        to = [value for value in (*args[1:], kwargs.get("device")) if isinstance(value, str | torch.device)]
        index = args[1] if name in ("__getitem__", "__setitem__") else ()
        parts = index if isinstance(index, tuple) else (index,)
        masks = [part for part in parts if isinstance(part, torch.Tensor) and part.dtype == torch.bool]
        repeats = name == "repeat_interleave" and "output_size" not in kwargs and isinstance(args[1], torch.Tensor)
        if name in READING or (name == "to" and to) or masks or repeats:
            self.seen.append(name)
        return func(*args, **kwargs)


class Reading(TorchDispatchMode):
    """Notes every number that is read out of a tensor, backward passes included; on a CPU, a copy is nothing to see."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.seen.append(func.__name__)
        return func(*args, **(kwargs or {}))


_LOOP = {"real_batch": 8, "inner_iterations": 100, "network_images": 0, "synthetic_batch": 3}
_ONE = ("one", "flip", "color", "crop", "scale", "rotate", "cutout")
_INNER = {"real_batch": 8, "outer": 100, "inner": 0, "synthetic_batch": 3}
OBJECTIVES = {
    "gradient": Gradient(**_LOOP),
    "gradient, frozen images drawn apart": Gradient(**_LOOP, frozen_batch=2),
    "gradient, norm penalty": Gradient(**_LOOP, norm_penalty=1.0),
    "gradient, prefixes": Gradient(**_LOOP, subset_period=1),
    "gradient, class by class": Gradient(**_LOOP, classes="loop", metric="cosine", augmentation=_ONE),
    "dc": DC(**_INNER),
    "dsa": DSA(**_INNER, augmentation=_ONE),
    "dm": DM(real_batch=8, synthetic_batch=3, augmentation=_ONE),
    "sre2l": SRe2L(teacher_steps=2, augmentation=("crop",)),
}
WINDOWS = {"hard": [1.0] * 48, "soft": [1.0, 0.5, 2.0] * 16}


def run(objective, trainer, blobs, track, window="hard"):
    if isinstance(objective, SRe2L):
        trainer = replace(trainer, network=replace(trainer.network, norm="batch"))
    matching = Matching(objective=objective, trainer=trainer, factor=2, learning_rate=0.1, match_prefix=True)
    matching.optimise(
        torch.rand(3, 2, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        blobs,
        torch.tensor(WINDOWS[window]),
        iterations=8,
        planned_ipc=10,
        stream=4,
        frozen=[torch.rand(1, 1, 8, 8, device=blobs.labels.device) for _ in range(3)],
        track=track,
    )


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ("dm", "sre2l")])
def test_an_iteration_waits_for_nothing(name, window, trainer, blobs, monkeypatch):
    """The first iteration of a network and of a block may; networks here learn nothing between updates."""
    monkeypatch.setattr(history, "_LOOK_EVERY", {})
    monkeypatch.setattr(shared, "_BLOCKED", ("cpu",))
    monkeypatch.setattr(LabelledImages, "__post_init__", lambda self: None)  # looks at sets on the CPU alone
    # On a CPU it looks at the largest and smallest label; on a GPU it does not.
    monkeypatch.setattr("torch.nn.functional.one_hot", lambda x, k: (x[:, None] == torch.arange(k)).long())
    watching, reading, seen = Watching(), Reading(), []

    def track(work):
        for iteration in work:
            before = len(watching.seen), len(reading.seen)
            yield iteration
            seen.append(watching.seen[before[0] :] + reading.seen[before[1] :])

    with watching, reading:
        run(OBJECTIVES[name], trainer, blobs, track, window)
    assert len(seen) == 8
    assert seen[0], "a block is brought to the device, so the watch works"
    assert seen[1:] == [[]] * 7


@pytest.mark.parametrize(
    ("name", "wait"),
    {
        "item": lambda x: x.sum().item(),
        "__bool__": lambda x: bool((x > 0).all()),
        "__float__": lambda x: float(x.sum()),
        "__int__": lambda x: int(x.sum()),
        "tolist": lambda x: x.tolist(),
        "cpu": lambda x: x.cpu(),
        "to": lambda x: x.to(torch.device("cpu")),
        "nonzero": lambda x: x.nonzero(),
        "__getitem__": lambda x: x[x > 0],
        "tensor": lambda x: torch.tensor([1, 2], device="cpu"),
        "repeat_interleave": lambda x: x.repeat_interleave(torch.ones(3).long()),
    }.items(),
)
def test_the_watch_sees_what_waits(name, wait):
    with Watching() as watching:
        wait(torch.ones(3))
    assert name in watching.seen


def test_numbers_are_seen_in_a_backward_pass():
    class Peeking(torch.autograd.Function):
        @staticmethod
        def forward(_ctx, x):
            return x * 2

        @staticmethod
        def backward(_ctx, g):
            return g * g.sum().item()

    x = torch.ones(3, requires_grad=True)
    with Reading() as reading:
        torch.autograd.grad(Peeking.apply(x).sum(), x)
    assert reading.seen == ["_local_scalar_dense.default"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype feature:UserWarning")
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_iteration_waits_for_nothing_on_the_gpu(name, window, trainer, blobs, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

    def track(work):
        for iteration in work:
            torch.cuda.set_sync_debug_mode("error" if 1 <= iteration < 7 else "default")
            yield iteration
        torch.cuda.set_sync_debug_mode("default")

    try:
        run(OBJECTIVES[name], trainer, blobs.to("cuda"), track, window)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_distance_that_is_not_finite_is_named_on_the_gpu(trainer, blobs):
    matching = Matching(objective=Gradient(**_LOOP), trainer=trainer, factor=1, learning_rate=0.5)
    initial = torch.rand(3, 2, 1, 8, 8)
    initial[1, 0, 0, 0, 0] = float("nan")
    with pytest.raises(FloatingPointError, match="iteration 0: the distance is nan"):
        matching.optimise(initial, blobs.to("cuda"), torch.ones(48), iterations=4, planned_ipc=10, stream=0)
