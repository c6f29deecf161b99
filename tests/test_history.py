import pytest
import torch

from dasm import history
from dasm.history import History

CPU = torch.device("cpu")


def kept(values, every=1):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "_LOOK_EVERY", {"cpu": every})
        found = History(len(values), CPU)
    for iteration, value in enumerate(values):
        found.add(iteration, torch.tensor(float(value), requires_grad=True))
    return found


def test_the_distances_of_an_iteration_add_up():
    found = History(3, CPU)
    for value in (1.0, 2.5):
        found.add(1, torch.tensor(value, requires_grad=True))
    assert found.values.tolist() == [0.0, 3.5, 0.0] and not found.values.requires_grad


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_the_first_distance_that_is_not_finite_is_named_however_late_it_is_noticed(value):
    found = kept([1, 2, value, 3, "nan", 1, 1, 1], every=6)
    for done in (1, 3, 5):
        found.watch(done)
    with pytest.raises(FloatingPointError, match=rf"^iteration 2: the distance is {value}$"):
        found.watch(6)
    with pytest.raises(FloatingPointError, match=r"^iteration 2:"):
        kept([1, 2, value]).look(3)


def test_what_has_been_looked_at_is_not_looked_at_again_and_the_rest_is():
    found = kept([1, 2, 3, 4, "nan", 6], every=2)
    found.watch(2)
    found.watch(3)
    found.look(4)
    with pytest.raises(FloatingPointError, match=r"^iteration 4:"):
        found.look(6)


def test_a_gpu_is_looked_at_seldom_and_a_cpu_always():
    assert History(1, CPU)._every == 1
    assert History(1, torch.device("meta"))._every >= 50


def test_a_plateau_is_a_window_no_better_than_the_one_before():
    found = kept([9, 9, 4, 4, 5, 3, 3.9, 3.9, 1, 1])
    assert [done for done in range(11) if found.settled(done, 2, 0.0)] == [6]
    assert [done for done in range(11) if found.settled(done, 2, 0.1)] == [6, 8]
    assert not found.settled(10, 2, 0.7) and found.settled(10, 2, 0.75)
    assert [done for done in range(11) if found.settled(done, 5, 0.0)] == []


def test_a_window_that_is_not_over_is_no_plateau():
    found = kept([1] * 12)
    assert [done for done in range(13) if found.settled(done, 3, 0.0)] == [6, 9, 12]
