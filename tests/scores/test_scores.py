"""The contract of every score in the folder, and the loss by hand."""

import math

import pytest
import torch

from dasm.plugins import build
from dasm.scores import Score
from tests.conftest import make_blobs
from tests.handmade import answering, listed, one_hot_set, readings, with_batch_norm

every_score = pytest.mark.parametrize("name", listed("scores"))


def made(name) -> Score:
    return build(Score, {"name": name}, "score")


def scored(name, data, snapshots):
    return made(name)(data, readings(data, *snapshots), ())


@every_score
def test_a_wrong_answer_is_harder_than_a_right_one(name):
    classifier = answering(torch.tensor([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]]))
    right_0, wrong_0, wrong_1, right_1 = scored(name, one_hot_set([0, 0, 1, 1]), [classifier] * 3).tolist()
    assert min(wrong_0, wrong_1) > max(right_0, right_1)


@every_score
def test_a_surer_wrong_answer_is_not_easier(name):
    classifier = answering(torch.tensor([[4.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 4.0]]))
    scores = scored(name, one_hot_set([0, 0, 0, 0], classes=2), [classifier] * 3).tolist()
    assert scores == sorted(scores) and scores[0] < scores[-1]


@every_score
def test_an_image_scores_the_same_alone_and_in_company(name):
    data, classifier = make_blobs(4, 0), with_batch_norm()
    together = scored(name, data, [classifier] * 3)
    alone = [scored(name, data.subset(torch.tensor([i])), [classifier] * 3).item() for i in range(len(data))]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


@every_score
def test_scoring_leaves_the_networks_alone(name):
    data, classifier = make_blobs(4, 0), with_batch_norm()
    before = {key: tensor.clone() for key, tensor in classifier.state_dict().items()}
    scored(name, data, [classifier])
    assert classifier.training
    assert all(torch.equal(before[key], tensor) for key, tensor in classifier.state_dict().items())


@every_score
def test_permuting_the_real_set_permutes_the_scores(name):
    data, classifier = make_blobs(4, 0), with_batch_norm()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    scores = scored(name, data, [classifier] * 2)
    torch.testing.assert_close(scored(name, data.subset(order), [classifier] * 2), scores[order])


@every_score
def test_a_score_is_one_finite_number_per_image_without_a_graph(name):
    data = make_blobs(4, 0)
    scores = scored(name, data, [with_batch_norm()])
    assert scores.shape == (12,) and scores.isfinite().all() and not scores.requires_grad


def test_the_loss_is_minus_the_log_probability_of_the_own_class():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
    scores = scored("loss", one_hot_set([0, 1, 2]), [answering(probabilities.log() + 3)])
    assert scores.tolist() == pytest.approx([-math.log(0.5), -math.log(0.1), -math.log(0.1)], rel=1e-5)


def test_the_loss_reads_the_last_snapshot_alone():
    data = one_hot_set([0, 0], classes=2)
    early, late = answering(torch.tensor([[9.0, 0.0], [0.0, 9.0]])), answering(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert torch.equal(scored("loss", data, [early, late]), scored("loss", data, [late]))
