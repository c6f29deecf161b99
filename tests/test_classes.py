"""The images of every class, and that to find them costs no pass over all labels for each class."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.overrides import TorchFunctionMode

from dasm.classes import by_class
from dasm.coresets import hardest_first
from dasm.initial import choose_sources
from dasm.objective_parts.batches import RealBatches
from dasm.windows import edges
from dasm.windows.budget import Budget
from tests.handmade import plain_set, progress
from tests.windows.test_windows import EVERY, made, some_difficulty

some_labels = st.lists(st.integers(0, 9), max_size=60)


@given(some_labels, st.integers(0, 12))
def test_every_class_has_the_indices_that_its_mask_has_in_data_order(labels, classes):
    labels = torch.tensor(labels, dtype=torch.long)
    found = by_class(labels, classes)
    assert len(found) == max(classes, int(labels.max()) + 1 if len(labels) else 0)
    for label, members in enumerate(found):
        assert members.dtype == torch.int64 and torch.equal(members, torch.nonzero(labels == label).flatten())


@given(some_labels)
@settings(max_examples=20)
def test_members_of_a_set_are_those_of_the_mask_also_where_a_class_has_none(labels):
    data = plain_set(torch.zeros(len(labels), 1, 2, 2), labels, classes=11)
    for label in range(11):
        assert torch.equal(data.members(label), torch.nonzero(data.labels == label).flatten())


class Written(TorchFunctionMode):
    """Counts the elements of every new tensor; views and what is changed in place are none."""

    count = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        known = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, torch.Tensor)}
        if isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known:
            self.count += out.numel()
        return out


CLASSES, SIZE = 200, 8
MANY = some_difficulty([SIZE] * CLASSES, 0)
# A mask for every class writes 200 times as many elements as there are images.
MOST = 60 * CLASSES * SIZE


@pytest.mark.parametrize("name", EVERY)
def test_a_window_looks_at_every_image_a_few_times_however_many_classes_there_are(name):
    window, now = made(name), progress(MANY, 3)
    with Written() as written:
        window(MANY, now)
    assert CLASSES * SIZE <= written.count < MOST


def test_so_do_edges_and_whatever_draws_from_classes():
    weights, nobody = Budget()(MANY, progress(MANY, 3)), torch.zeros(0, dtype=torch.long)
    real = plain_set(torch.zeros(CLASSES * SIZE, 1, 1, 1), MANY.labels.tolist())
    asked = {
        "edges": lambda: edges(weights, MANY.rank, MANY.labels),
        "sources": lambda: choose_sources(real, torch.ones(len(real)), None, 2, nobody, 0),
        "sources under a window": lambda: choose_sources(real, weights, MANY.rank, 2, nobody, 0),
        "batches": lambda: RealBatches(data=real, weights=weights, stream=0),
        "coresets": lambda: hardest_first(real, MANY.score, 2, 0),
    }
    for what, work in asked.items():
        with Written() as written:
            work()
        assert CLASSES * SIZE <= written.count < MOST, what
