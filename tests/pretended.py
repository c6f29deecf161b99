"""A graphics card that is not there: tensors that say they are on one and hold their numbers on the CPU.

What code does differently for a GPU runs with its real numbers, so it can be compared with what it does on a CPU. As
on a card, tensors of one dimension and more may not meet those of another device; unlike on a card, neither may an
index, because that would make a card wait. What a card refuses because it would not repeat itself is refused, and
inside `recording` what a CUDA graph cannot hold (`tests.refused`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map

from dasm import rng
from dasm.machine import counts
from dasm.objectives import dm
from dasm.steps.stepper import Stepper
from tests.refused import unrecordable, unrepeatable

CARD = torch.device("cuda", 0)
_COPIES = {"aten::_to_copy", "aten::copy_"}


class OnCard(torch.Tensor):
    """A tensor that says it is on the card. Torch below Python thinks it is on the CPU."""

    device = CARD
    is_cuda = True
    is_cpu = False

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype
        )

    def __init__(self, inner):
        self.inner = inner

    def __repr__(self):
        return f"OnCard({self.inner!r})"

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _dispatched(func, args, kwargs or {})


class _Moving(TorchFunctionMode):
    """Sees to what names a device in Python, before torch looks for it."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        named = [value for value in (*args[1:], *kwargs.values()) if isinstance(value, str | torch.device)]
        places = {torch.device(value).type for value in named if _is_device(value)}
        if func in (torch.Tensor.tolist, torch.Tensor.numpy) and isinstance(args[0], OnCard):
            _moves(func)
            return func(args[0].inner)
        if func is torch.Tensor.cpu:
            places = {"cpu"}
        if not places:
            return self._called(func, args, kwargs)
        if any(isinstance(value, torch.Tensor) for value in args[:1]) or func in (torch.tensor, torch.as_tensor):
            _moves(func)
        args = tuple(
            value.inner.clone() if i == 0 and isinstance(value, OnCard) else value for i, value in enumerate(args)
        )
        args, kwargs = tree_map(lambda value: torch.device("cpu") if _is_device(value) else value, (args, kwargs))
        before, _Below.made_for_card = _Below.made_for_card, places == {"cuda"}
        try:
            out = func(*args, **kwargs)
        finally:
            _Below.made_for_card = before
        return OnCard(out) if places == {"cuda"} else out

    def _called(self, func, args, kwargs):
        """What torch makes by itself for tensors on a card, below Python, is on the card."""
        before = _Below.on_card
        _Below.on_card = any(isinstance(value, OnCard) for value in tree_iter((args, kwargs)))
        try:
            return func(*args, **kwargs)
        finally:
            _Below.on_card = before


class _Below(TorchDispatchMode):
    on_card = False
    made_for_card = False  # by name, on the CPU, until `_Moving` says where it is
    recording = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _dispatched(func, args, kwargs or {})


def _is_device(value):
    return isinstance(value, torch.device) or (isinstance(value, str) and value.partition(":")[0] in ("cpu", "cuda"))


def _moves(func):
    if _Below.recording:
        raise RuntimeError(f"{func.__name__}: a CUDA graph cannot hold what passes between it and the host")


def _pinned(tensor):
    _moves(_pinned)
    return tensor


def _refused(func, args, kwargs, tensors):
    if torch.get_deterministic_debug_mode() == 2 and unrepeatable(func, args, kwargs):
        raise RuntimeError(f"{func}: does not have a deterministic implementation on a card")
    if _Below.recording:
        # A number on the CPU would be recorded as what it is now.
        if any(not isinstance(t, OnCard) for t in tensors) and not _Below.made_for_card:
            raise RuntimeError(f"{func}: a CUDA graph cannot hold a tensor on the CPU")
        if why := unrecordable(func, args, kwargs):
            raise RuntimeError(f"{func}: a CUDA graph cannot hold {why}")


def _dispatched(func, args, kwargs):
    tensors = [t for t in tree_iter((args, kwargs)) if isinstance(t, torch.Tensor)]
    on_card = any(isinstance(t, OnCard) for t in tensors) if tensors else _Below.on_card
    name = func._schema.name
    if on_card and name not in _COPIES:
        strangers = [tuple(t.shape) for t in tensors if not isinstance(t, OnCard) and t.dim()]
        if strangers:
            raise RuntimeError(f"{func}: tensors on two devices, of shapes {strangers} on the CPU")
    if on_card or _Below.made_for_card:
        _refused(func, args, kwargs, tensors)
    if kwargs.get("device") is not None and torch.device(kwargs["device"]).type == "cuda":
        on_card, kwargs = True, {**kwargs, "device": torch.device("cpu")}
    inner_args, inner_kwargs = tree_map(lambda t: t.inner if isinstance(t, OnCard) else t, (args, kwargs))
    out = func(*inner_args, **inner_kwargs)
    if not on_card or (name == "aten::copy_" and not isinstance(args[0], OnCard)):
        return out
    wrapped = tree_map(lambda t: OnCard(t) if isinstance(t, torch.Tensor) else t, out)
    return return_and_correct_aliasing(func, args, kwargs, wrapped)


@contextmanager
def pretended(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that there is a card, with generators of the CPU's bits."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1 << 36, 1 << 37))
    monkeypatch.setattr(rng, "generator", _generator)
    monkeypatch.setattr(
        torch, "inference_mode", lambda mode=True: torch.set_grad_enabled(torch.is_grad_enabled() and not mode)
    )
    monkeypatch.setattr(torch.Tensor, "pin_memory", _pinned)
    # A tensor cannot turn into one of another type by its `data`.
    monkeypatch.setattr(
        dm._Networks, "fresh", lambda self, stream: self._trainer.start(self._like, stream).network.to(self._device)
    )
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # a parameter cannot become another type in place
    with _Below(), _Moving():
        yield
    torch.__future__.set_overwrite_module_params_on_conversion(before)


@contextmanager
def recording() -> Iterator[None]:
    """Refuse for the block, on a pretended card, what a CUDA graph cannot hold."""
    _Below.recording = True
    try:
        yield
    finally:
        _Below.recording = False


class Replayed:
    """What stands in for a CUDA graph: the step again, but no layer is called that could count."""

    def replay(self):
        with counts.aside():
            self.step()


def stand_in(monkeypatch: pytest.MonkeyPatch, record: Callable) -> None:
    """Stand in for the CUDA functions around a recording, with `record` for `torch.cuda.graph`."""
    nothing = SimpleNamespace(wait_stream=lambda other: None)
    for name, value in {
        "current_stream": lambda: nothing,
        "current_device": lambda: 0,
        "set_stream": lambda stream: None,
        "stream": lambda stream: nullcontext(),
        "synchronize": lambda: None,
        "CUDAGraph": Replayed,
        "graph": record,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr("dasm.steps.stepper._side_stream", lambda _device: nothing)


@contextmanager
def replaying(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Record steps, refusing what a graph cannot hold, and replay them; yield the batch sizes that were recorded."""
    recorded, last, plain = list[int](), list[tuple[Stepper, int]](), Stepper._step

    def noting(self, n):
        last[:] = [(self, n)]
        return plain(self, n)

    @contextmanager
    def record(graph):
        stepper, n = last[0]  # it has just been warmed up
        with stepper._put_back(), recording():  # nothing runs while a graph is recorded
            yield
        graph.step = lambda: plain(stepper, n)
        recorded.append(n)

    monkeypatch.setattr(Stepper, "_step", noting)
    stand_in(monkeypatch, record)
    yield recorded


class _Generator(torch.Generator):
    device = CARD


def _generator(stream, *names, device="cpu"):
    kind = _Generator if torch.device(device).type == "cuda" else torch.Generator
    return kind().manual_seed(rng.derive(stream, *names))
