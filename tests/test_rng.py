import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm import rng


def test_800_streams_over_roots_names_and_numbers_are_distinct():
    streams = [
        rng.derive(root, name, k) for root in (-3, 0, 1, 2, 7) for name in ("segment", "evaluator") for k in range(80)
    ]
    assert len(set(streams)) == 800


def test_the_same_names_give_the_same_stream_on_every_machine():
    assert rng.derive(0, "segment", 1) == 5626134328480629871


def test_a_number_and_its_digits_are_different_names():
    assert rng.derive(0, 1) != rng.derive(0, "1")


def test_names_do_not_run_together():
    assert len({rng.derive(0, *names) for names in [("ab",), ("a", "b"), ("a, b",), ("a', 'b",), ()]}) == 5


def test_deriving_in_two_steps_is_not_deriving_a_sum():
    assert rng.derive(0, "x", 1) != rng.derive(1, "x", 0)
    assert rng.derive(rng.derive(0, "x"), 1) != rng.derive(rng.derive(1, "x"), 0)


@given(st.integers(), st.lists(st.one_of(st.integers(), st.text()), max_size=3))
def test_any_integer_and_any_names_give_a_seed_that_torch_takes(stream, names):
    derived = rng.derive(stream, *names)
    assert 0 <= derived < 2**63
    assert rng.generator(stream, *names).initial_seed() == derived


def test_a_generator_starts_at_its_stream():
    expected = torch.rand(4, generator=torch.Generator().manual_seed(rng.derive(5, "a", 2)))
    assert torch.equal(torch.rand(4, generator=rng.generator(5, "a", 2)), expected)


def test_fork_draws_from_its_stream_and_puts_the_global_one_back():
    before = torch.get_rng_state()
    with rng.fork(11):
        drawn = torch.rand(3)
    assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(11)))
    assert torch.equal(torch.get_rng_state(), before)


def test_fork_puts_the_global_stream_back_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError, match="inside"), rng.fork(11):
        torch.rand(3)
        raise RuntimeError("inside")
    assert torch.equal(torch.get_rng_state(), before)


def test_fork_wakes_no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for name in ("manual_seed_all", "get_rng_state", "set_rng_state"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: pytest.fail("a GPU was woken"))
    with rng.fork(11):
        torch.rand(3)


def test_streams_leave_the_global_stream_alone():
    before = torch.get_rng_state()
    torch.rand(3, generator=rng.generator(1, "a"))
    assert torch.equal(torch.get_rng_state(), before)
