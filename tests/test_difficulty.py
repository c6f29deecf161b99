import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.difficulty import loss, measure, rank_fraction
from dasm.errors import ConfigError
from dasm.scores.loss import Loss
from tests.handmade import answering, difficulty_of, one_hot_set


def logits(*probabilities):
    return torch.tensor(probabilities).log()


def test_ranks_count_inside_the_own_class():
    rank = difficulty_of([0.3, 9.0, 0.1, 7.0, 0.2, 8.0, 0.4], [0, 1, 0, 1, 0, 1, 0]).rank
    assert rank.tolist() == pytest.approx([2 / 4, 2 / 3, 0, 0, 1 / 4, 1 / 3, 3 / 4])


def test_ties_go_by_position():
    rank = rank_fraction(torch.tensor([1.0, 0.0, 1.0, 1.0, 0.0]), torch.tensor([0, 0, 0, 0, 0]))
    assert rank.tolist() == pytest.approx([2 / 5, 0, 3 / 5, 4 / 5, 1 / 5])


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-9, 9, width=32)), min_size=1, max_size=40))
def test_the_ranks_of_a_class_fill_0_to_1_evenly_and_follow_the_scores(rows):
    labels, score = torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows])
    rank = rank_fraction(score, labels)
    for label in labels.unique():
        mine, size = labels == label, int((labels == label).sum())
        order = rank[mine].argsort()
        assert rank[mine][order].tolist() == pytest.approx([i / size for i in range(size)])
        assert (score[mine][order].diff() >= 0).all()


def test_score_spread_and_right_are_taken_over_the_last_snapshots_of_all_evaluators():
    data = one_hot_set([0, 1, 1])
    early = answering(logits([0.01, 0.99], [0.99, 0.01], [0.99, 0.01]))
    first = answering(logits([0.8, 0.2], [0.4, 0.6], [0.9, 0.1]))
    second = answering(logits([0.5, 0.5], [0.7, 0.3], [0.6, 0.4]) + torch.tensor([[1e-3, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    found = measure(data, [[early, first], [early, second]], Loss())
    pairs = [(0.8, 0.5), (0.6, 0.3), (0.1, 0.4)]
    assert found.score.tolist() == pytest.approx([-(math.log(a) + math.log(b)) / 2 for a, b in pairs], abs=1e-3)
    # The standard deviation of two numbers over both of them is half of what lies between.
    assert found.spread.tolist() == pytest.approx([abs(math.log(a / b)) / 2 for a, b in pairs], abs=1e-3)
    assert found.right.tolist() == [1, 0.5, 0]
    assert found.labels.tolist() == [0, 1, 1]
    assert found.rank.tolist() == pytest.approx([0, 0, 0.5])


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_network_that_has_diverged_scores_nothing(which, value):
    """One of several is enough: what is no number has no rank, and a mean over it has none either."""
    data = one_hot_set([0, 1, 1])
    broken = answering(torch.tensor([[1.0, 0.0], [0.0, value], [0.0, 1.0]]))
    evaluators = [[answering(torch.eye(3)[:, :2])], [broken]]
    with pytest.raises(ConfigError, match="evaluator: logits of real images must be finite, got 3 of 3"):
        measure(data, evaluators[::-1] if which else evaluators, Loss())


def test_one_evaluator_has_no_spread():
    found = measure(one_hot_set([0, 1]), [[answering(torch.eye(2))]], Loss())
    assert found.spread.tolist() == [0, 0]


def test_the_loss_of_trained_networks_is_that_of_the_score_of_this_name():
    data = one_hot_set([0, 1, 1])
    networks = [
        answering(logits([0.8, 0.2], [0.4, 0.6], [0.9, 0.1])),
        answering(logits([0.5, 0.5], [0.7, 0.3], [0.6, 0.4])),
    ]
    found, same = loss(data, networks), measure(data, [[network] for network in networks], Loss())
    for name in ("score", "spread", "right", "labels"):
        assert torch.equal(getattr(found, name), getattr(same, name)), name
