import pytest
import torch

from dasm import rng
from dasm.augment import draw
from dasm.errors import ConfigError
from dasm.objective_parts import shared
from dasm.objective_parts.shared import SharedTransforms
from tests.handmade import plain_set

ALL = ("flip", "color", "crop", "scale", "rotate", "cutout")
SHAPE = (1, 16, 16)


def made(operations=ALL, stream=5, name="shared"):
    return SharedTransforms(operations, plain_set(torch.zeros(3, *SHAPE), range(3)), stream, name=name)


@pytest.fixture
def blocked(monkeypatch):
    """As on a GPU."""
    monkeypatch.setattr(shared, "_BLOCKED", ("cpu",))
    monkeypatch.setattr(shared, "_ITERATIONS", 4)


def values(transform):
    names = ("flip", "color", "choice", "shift", "scale", "angle", "hole")
    return transform.operations, [getattr(transform, name).tolist() for name in names]


@pytest.mark.parametrize("operations", [ALL, ("one", *ALL), ()])
def test_on_a_cpu_a_draw_is_that_of_the_iteration(operations):
    transforms = made(operations)
    for iteration in (0, 5, 3):
        stream = rng.derive(8, "iteration", iteration)
        expected = draw(operations, 3, SHAPE, rng.generator(stream, "shared"))
        assert values(transforms.of_all(iteration, stream)) == values(expected)
        for label in range(3):
            expected = draw(operations, 1, SHAPE, rng.generator(stream, "shared", label))
            assert values(transforms.of_class(label, iteration, stream)) == values(expected)


@pytest.mark.usefixtures("blocked")
@pytest.mark.parametrize("operations", [ALL, ("one", *ALL), ()])
def test_a_blocked_draw_depends_on_stream_and_iteration_alone(operations):
    """A run that goes on in the middle of a block sees what it would have seen."""
    whole = made(operations)
    forward = [values(whole.of_all(i, 0)) for i in range(10)]
    assert [values(made(operations).of_all(i, 99)) for i in range(10)] == forward
    assert [values(whole.of_all(i, 7)) for i in reversed(range(10))] == forward[::-1]
    assert len({str(row[1]) for row in forward}) == 10
    others = made(operations, stream=6), made(operations, name="calibration")
    assert all(values(other.of_all(0, 0))[1] != forward[0][1] for other in others)


@pytest.mark.usefixtures("blocked")
def test_blocked_classes_are_the_rows_of_the_iteration():
    transforms = made()
    for iteration in (0, 3, 4, 9):
        whole = transforms.of_all(iteration, 0)
        for label in range(3):
            found = transforms.of_class(label, iteration, 0)
            assert values(found) == values(whole.at(slice(label, label + 1)))
            assert len(found.flip) == 1


@pytest.mark.usefixtures("blocked")
def test_a_blocked_one_picks_every_operation_and_anew_for_each_class():
    transforms = made(("one", *ALL))
    picked = [[transforms.of_class(c, i, 0).operations for c in range(3)] for i in range(60)]
    assert {operations for row in picked for operations in row} == {(name,) for name in ALL}
    assert sum(len(set(row)) > 1 for row in picked) > 40
    assert transforms.of_all(7, 0).operations == picked[7][0]


@pytest.mark.usefixtures("blocked")
def test_one_without_others_is_refused():
    with pytest.raises(ConfigError, match="one must have others to pick from"):
        made(("one",))


@pytest.mark.usefixtures("blocked")
def test_the_global_stream_is_left_alone():
    torch.manual_seed(0)
    state = torch.get_rng_state()
    made().of_all(3, 0)
    assert torch.equal(torch.get_rng_state(), state)
