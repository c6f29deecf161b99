"""Work on several threads: the same answers in the same order, and nothing of it leaks out."""

import ctypes
import importlib
import subprocess
import sys
import threading
import time

import pytest
import torch

from dasm.machine.counts import Counts, count, counting
from dasm.machine.memory import keep_freed_memory
from dasm.machine.spread import evenly, spread, total
from dasm.networks.convnet import ConvNet
from dasm.objective_parts.classwise import chain_distance, chain_gradients, distance
from tests.graph import ROOT

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    """Set the number of threads; it is put back."""
    yield torch.set_num_threads
    torch.set_num_threads(1)


def test_every_piece_has_a_thread_of_its_own_and_the_answers_keep_their_order(threads):
    threads(2)
    meet = threading.Barrier(2, timeout=30)

    def work(piece):
        meet.wait()  # or nobody comes
        return piece, torch.get_num_threads(), threading.get_ident()

    answers = spread(work, range(4), CPU)
    assert [(piece, inside) for piece, inside, _ in answers] == [(piece, 1) for piece in range(4)]
    assert len({name for _, _, name in answers}) == 2
    assert torch.get_num_threads() == 2, "the caller's threads stay"


def test_a_single_piece_has_one_core(threads):
    threads(2)
    assert spread(lambda piece: (piece, torch.get_num_threads()), ["small"], CPU) == [("small", 1)]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("number", [1, 2])
def test_a_failure_is_the_callers(threads, number):
    threads(number)
    with pytest.raises(ZeroDivisionError):
        spread(lambda piece: 1 // piece, [1, 0, 1], CPU)


def test_modes_go_along(threads):
    threads(2)
    with torch.inference_mode():
        assert spread(lambda _: torch.is_inference_mode_enabled(), range(2), CPU) == [True, True]
    assert spread(lambda _: (torch.is_grad_enabled(), torch.is_inference_mode_enabled()), range(2), CPU) == [
        (False, False),
        (False, False),
    ]


def test_pieces_are_whole_or_an_even_number_of_nearly_equal_ones():
    batch = torch.arange(40)
    assert [len(piece) for piece in evenly(batch, 160)] == [40]
    assert [len(piece) for piece in evenly(batch, 159)] == [20, 20]
    assert [len(piece) for piece in evenly(batch, 20)] == [20, 20]
    assert [len(piece) for piece in evenly(batch, 16)] == [10, 10, 10, 10]
    assert [len(piece) for piece in evenly(batch[:3], 1)] == [1, 1, 1], "never an empty one"
    assert [len(piece) for piece in evenly(batch[:2], 0)] == [1, 1]
    assert torch.equal(torch.cat(evenly(batch, 7)), batch)
    assert [piece.shape for piece in evenly(batch.view(4, 10), 5, dim=1)] == [(4, 5), (4, 5)]


def test_nothing_is_one_empty_piece():
    assert [len(piece) for piece in evenly(torch.zeros(0, 2), 8)] == [0]


def test_a_sum_is_taken_in_order():
    parts = [torch.tensor([value], dtype=torch.float32) for value in (1e8, 1.0, -1e8)]
    assert total(parts).item() == 0.0


class Slow(Counts):
    """Somebody else has time to count between reading a number and writing it back."""

    def __getattribute__(self, name):
        value = super().__getattribute__(name)
        if name == "forward_images":
            time.sleep(1e-4)
        return value


def test_counts_hold_what_all_threads_did(threads):
    threads(2)
    counts = Slow()
    with counting(counts):
        spread(lambda _: [count(forward_images=1) for _ in range(50)], range(4), CPU)
    assert counts.forward_images == 200


def matched(network, real, synthetic):
    chain, labels = network.chain(), torch.arange(2)
    images = synthetic.clone().requires_grad_()
    value = chain_distance(
        chain, images, labels, chain_gradients(chain, real, labels), lambda a, b: distance(a, b, "mse")
    )
    return value.detach(), *torch.autograd.grad(value, images)


def test_results_do_not_depend_on_the_number_of_threads(threads, monkeypatch):
    """Matching, a training step and scoring, to the last bit."""
    three_images = 3 * 8 * 16 * 16 * 4
    monkeypatch.setitem(importlib.import_module("dasm.chains.chain")._PART_BYTES, "cpu", three_images)
    network = ConvNet(width=8, depth=2).build((3, 16, 16), 2, stream=0)
    generator = torch.Generator().manual_seed(0)
    real, synthetic = (torch.randn(2, n, 3, 16, 16, generator=generator) for n in (8, 5))
    found = []
    for number in (1, 2):
        threads(number)
        loss = network(real.flatten(0, 1), once=True).square().sum()
        with torch.inference_mode():
            logits = network(real.flatten(0, 1), once=True).clone()
        found.append([*matched(network, real, synthetic), *torch.autograd.grad(loss, network.parameters()), logits])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


HELD = """
import ctypes, os, sys
from dasm.machine.memory import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
library.memset.argtypes, library.free.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t], [ctypes.c_void_p]
place = library.malloc(64 << 20)
library.memset(place, 1, 64 << 20)
library.free(place)
print(int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_freed_memory_is_kept():
    """64 MiB that were written and freed: resident afterwards, or given back. That it helps is for the benchmark."""
    megabytes = {
        how: int(subprocess.run([sys.executable, "-c", HELD, how], cwd=ROOT, capture_output=True, check=True).stdout)
        for how in ("kept", "given back")
    }
    assert megabytes["kept"] > 64 > megabytes["given back"]


def test_where_the_library_has_no_such_choice_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    keep_freed_memory()
