"""The contract of every score in the folder, and each of them by hand."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dasm.difficulty import measure
from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.plugins import build
from dasm.scores import Score
from tests.conftest import make_blobs
from tests.handmade import answering, listed, one_hot_set, readings, with_batch_norm

every_score = pytest.mark.parametrize("name", listed("scores"))


FILE = "scores.parquet"
OPTIONS = {"given": {"path": FILE}}


def made(name) -> Score:
    return build(Score, {"name": name, **OPTIONS.get(name, {})}, "score")


@pytest.fixture(autouse=True)
def _scores_from_elsewhere(tmp_path, monkeypatch):
    """A file of more images than any set here has."""
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"score": np.random.default_rng(0).normal(size=50)}), FILE)


def blobs():
    data = make_blobs(4, 0)
    return replace(data, origin=torch.arange(len(data)) * 2)


# To the others a sure wrong answer is as easy as a sure right one.
KNOWING = [name for name in listed("scores") if made(name).knows_the_label]
every_score_that_knows_the_label = pytest.mark.parametrize("name", KNOWING)


def scored(name, data, snapshots):
    return made(name)(data, readings(data, *snapshots), ())


@every_score_that_knows_the_label
def test_a_wrong_answer_is_harder_than_a_right_one(name):
    classifier = answering(torch.tensor([[4.0, 0.0], [0.0, 4.0], [4.0, 0.0], [0.0, 4.0]]))
    right_0, wrong_0, wrong_1, right_1 = scored(name, one_hot_set([0, 0, 1, 1]), [classifier] * 3).tolist()
    assert min(wrong_0, wrong_1) > max(right_0, right_1)


@every_score_that_knows_the_label
def test_a_surer_wrong_answer_is_not_easier(name):
    classifier = answering(torch.tensor([[4.0, 0.0], [0.5, 0.0], [0.0, 0.5], [0.0, 4.0]]))
    scores = scored(name, one_hot_set([0, 0, 0, 0], classes=2), [classifier] * 3).tolist()
    assert scores == sorted(scores) and scores[0] < scores[-1]


@pytest.mark.parametrize("name", [name for name in listed("scores") if name not in KNOWING])
def test_a_score_that_says_it_does_not_know_the_label_does_not_look_at_it(name):
    data, classifier = blobs(), with_batch_norm()
    other = replace(data, labels=(data.labels + 1) % 3)
    assert torch.equal(scored(name, data, [classifier] * 3), scored(name, other, [classifier] * 3))


def test_which_scores_know_the_label():
    assert {"loss", "el2n", "margin"} <= {*KNOWING} and not {"entropy", "gps"} & {*KNOWING}


# They compare images with each other, or ask the others how good a network is.
LOOKING_AROUND = [name for name in listed("scores") if made(name).looks_around]


@pytest.mark.parametrize("name", [name for name in listed("scores") if name not in LOOKING_AROUND])
def test_an_image_scores_the_same_alone_and_in_company(name):
    data, classifier = blobs(), with_batch_norm()
    together = scored(name, data, [classifier] * 3)
    alone = [scored(name, data.subset(torch.tensor([i])), [classifier] * 3).item() for i in range(len(data))]
    assert together.tolist() == pytest.approx(alone, abs=1e-5)


def test_which_scores_look_around():
    assert {"gps", "lbpe"} <= {*LOOKING_AROUND} and not {"loss", "el2n", "forgetting"} & {*LOOKING_AROUND}


@every_score
def test_scoring_leaves_the_networks_alone(name):
    data, classifier = blobs(), with_batch_norm()
    before = {key: tensor.clone() for key, tensor in classifier.state_dict().items()}
    scored(name, data, [classifier])
    assert classifier.training
    assert all(torch.equal(before[key], tensor) for key, tensor in classifier.state_dict().items())


@every_score
def test_permuting_the_real_set_permutes_the_scores(name):
    data, classifier = blobs(), with_batch_norm()
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    scores = scored(name, data, [classifier] * 2)
    torch.testing.assert_close(scored(name, data.subset(order), [classifier] * 2), scores[order])


@every_score
def test_a_score_is_one_finite_number_per_image_without_a_graph(name):
    data = blobs()
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


THREE = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.1, 0.8], [0.2, 0.7, 0.1]])
FLAT = torch.full((3, 3), 1 / 3)


def test_el2n_is_the_length_of_the_error_vector():
    scores = scored("el2n", one_hot_set([0, 1, 2]), [answering(THREE.log() - 2)])
    errors = [(0.5, 0.25, 0.25), (0.1, 0.9, 0.8), (0.2, 0.7, 0.9)]
    assert scores.tolist() == pytest.approx([math.hypot(*error) for error in errors], rel=1e-5)


def test_el2n_is_the_mean_of_the_lengths_over_the_snapshots():
    # The mean of the lengths: the length of the mean error is smaller.
    data, snapshots = one_hot_set([0, 1, 2]), [answering(THREE.log()), answering(FLAT.log())]
    flat = math.hypot(2 / 3, 1 / 3, 1 / 3)
    first = scored("el2n", data, snapshots[:1])
    assert scored("el2n", data, snapshots).tolist() == pytest.approx(((first + flat) / 2).tolist())


def with_features(seed) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        body = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 5), nn.ReLU())
        return Classifier(body, nn.Linear(5, 3))


def test_grand_is_the_length_of_the_gradient_of_the_last_layer():
    data, network = make_blobs(3, 0), with_features(1)
    expected = []
    for i in range(len(data)):
        loss = F.cross_entropy(network(data.inputs(torch.tensor([i]))), data.labels[i : i + 1])
        gradients = torch.autograd.grad(loss, list(network.head.parameters()))
        expected.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
    assert scored("grand", data, [with_features(0), network]).tolist() == pytest.approx(expected, rel=1e-5)


HISTORIES = ["++++", "----", "+-+-", "-+++", "++--", "-+-+", "---+", "+---", "+--+"]
FORGOTTEN = [0, 4, 2, 0, 1, 1, 0, 1, 1]


def answers(letters) -> Classifier:
    """Right (class 0) for `+`, wrong for `-`."""
    return answering(torch.tensor([[1.0, 0.0] if letter == "+" else [0.0, 1.0] for letter in letters]))


def test_forgetting_counts_the_times_a_right_answer_turns_wrong_and_never_learnt_is_hardest():
    data = one_hot_set([0] * len(HISTORIES), classes=2)
    snapshots = [answers(step) for step in zip(*HISTORIES, strict=True)]
    assert scored("forgetting", data, snapshots).tolist() == FORGOTTEN


@pytest.mark.parametrize("snapshots", range(2, 8))
def test_what_was_never_learnt_is_above_any_count(snapshots):
    data = one_hot_set([0, 0, 0], classes=2)
    rows = ["".join("+-"[t % 2] for t in range(snapshots)), "-" * snapshots, "+" * snapshots]
    often, never, always = scored("forgetting", data, [answers(step) for step in zip(*rows, strict=True)]).tolist()
    assert never > often > always == 0


def test_the_margin_is_over_the_largest_other_logit():
    logits = torch.tensor([[5.0, 3.0, 4.0], [-1.0, -2.0, -4.0], [9.0, 9.0, 9.0]])
    data = one_hot_set([0, 1, 2])
    assert scored("margin", data, [answering(-logits), answering(logits)]).tolist() == pytest.approx([-1, 1, 0])


def test_the_area_under_the_margin_is_its_mean_over_the_snapshots():
    data = one_hot_set([0, 1, 2])
    first = torch.tensor([[5.0, 3.0, 4.0], [0.0, 2.0, 1.0], [0.0, 0.0, -3.0]])
    second = torch.tensor([[5.0, 8.0, 4.0], [0.0, 2.0, 1.0], [0.0, 0.0, 6.0]])
    # Margins 1 and -3; 1 and 1; -3 and 6. The runner-up changes: margins are averaged, not logits.
    assert scored("aum", data, [answering(first), answering(second)]).tolist() == pytest.approx([1, -1, -1.5])


def test_votes_are_the_share_of_wrong_answers():
    data = one_hot_set([0, 0, 0, 0], classes=2)
    steps = zip("++-", "-+-", "--+", "+++", strict=True)
    assert scored("votes", data, [answers("".join(s)) for s in steps]).tolist() == pytest.approx(
        [1 / 3, 2 / 3, 2 / 3, 0]
    )
    assert scored("votes", data, [answers("+-+-")]).tolist() == [0, 1, 0, 1]


def test_the_entropy_is_in_nats_and_blind_to_the_label():
    probabilities = torch.tensor([[0.5, 0.25, 0.25], [1 / 3, 1 / 3, 1 / 3], [0.98, 0.01, 0.01]])
    expected = [1.5 * math.log(2), math.log(3), -0.98 * math.log(0.98) + 0.02 * math.log(100)]
    for labels in ([0, 1, 2], [2, 0, 1]):
        scores = scored("entropy", one_hot_set(labels), [answering(FLAT), answering(probabilities.log())])
        assert scores.tolist() == pytest.approx(expected, rel=1e-3)


def test_the_entropy_of_an_answer_beyond_doubt_is_zero():
    data = one_hot_set([0, 1], classes=2)
    assert scored("entropy", data, [answering(torch.tensor([[500.0, -500.0], [0.0, 1e4]]))]).tolist() == [0, 0]


def test_lbpe_is_the_mean_length_of_the_error_over_the_snapshots_that_know_most():
    data = one_hot_set([0, 0, 0, 0], classes=2)
    snapshots = [answers(step) for step in ("+++-", "----", "++++", "+---", "-+++")]
    every = [scored("el2n", data, [snapshot]) for snapshot in snapshots]

    def lbpe(best):
        return build(Score, {"name": "lbpe", "best": best}, "score")(data, readings(data, *snapshots), ())

    assert torch.equal(lbpe(1), every[2])
    # Two snapshots know three of four: the later one is meant.
    assert lbpe(2).tolist() == pytest.approx(((every[2] + every[4]) / 2).tolist())
    assert lbpe(3).tolist() == pytest.approx(((every[0] + every[2] + every[4]) / 3).tolist())
    assert torch.equal(lbpe(5), lbpe(9)) and torch.equal(lbpe(9), scored("el2n", data, snapshots))


def two_layers() -> Classifier:
    """Three channels of six by six, then two of four by four; the head is blind."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [nn.Conv2d(1, 3, 3), nn.InstanceNorm2d(3), nn.ReLU(), nn.Conv2d(3, 2, 3), nn.ReLU(inplace=True)]
        return Classifier(nn.Sequential(*layers, nn.Flatten()), nn.Linear(32, 3))


def test_gps_is_the_distance_from_the_statistics_of_the_set_over_the_layers():
    data, network = make_blobs(3, 0), two_layers()
    first = network.body[:1](data.inputs(torch.arange(9)))
    second = network.body[:4](data.inputs(torch.arange(9)))
    for beta in (0.0, 0.5, 1.0):
        expected = torch.zeros(9, dtype=torch.float64)
        for out in (first.detach().double(), second.detach().double()):
            centre, whole = out.mean((0, 2, 3)), out.var((0, 2, 3), correction=0)
            for i in range(9):
                mean, var = out[i].mean((1, 2)), out[i].var((1, 2), correction=0)
                logs = ((var + 1e-3 * whole) / (1.001 * whole)).log()
                away = (mean - centre).square().sum().sqrt() + beta * logs.square().sum().sqrt()
                expected[i] += away / math.sqrt(out.shape[1]) / 2
        score = build(Score, {"name": "gps", "beta": beta}, "score")
        assert score(data, readings(data, network), ()).tolist() == pytest.approx(expected.tolist(), rel=1e-4)


def test_the_image_that_looks_like_no_other_is_hardest_by_gps():
    data, stream = blobs(), torch.Generator().manual_seed(0)
    images = torch.randint(96, 160, data.images.shape, dtype=torch.uint8, generator=stream)
    images[5] //= 8  # dark, and of little contrast
    assert scored("gps", replace(data, images=images), [two_layers()]).argmax() == 5


def test_what_is_silent_for_an_image_or_for_all_is_no_infinity_to_gps():
    data, network = blobs(), two_layers()
    network.body[0].weight.data[1] = 0  # for all
    images = data.images.clone()
    images[5] = 0  # a constant image: no variance anywhere
    scores = scored("gps", replace(data, images=images), [network])
    assert scores.isfinite().all() and scores.argmax() == 5
    # A channel that says the same of all images moves none of them away from the others.
    without = torch.stack([means[:, 1] for means, _ in readings(data, network)[0].moments[:1]])
    assert torch.equal(without, without[:, :1].expand_as(without))


def test_gps_asks_convolutions_and_refuses_networks_without_any():
    data = make_blobs(2, 0)
    blind = Classifier(nn.Sequential(nn.Conv2d(1, 2, 8), nn.Flatten()), nn.Linear(2, 3))  # of one pixel
    for network in (answering(torch.zeros(64, 3)), blind):
        with pytest.raises(ConfigError, match=r"^gps: evaluators must have convolutions over more than one pixel"):
            scored("gps", data, [network])


def test_learnability_is_the_loss_beyond_that_of_the_reference():
    data = one_hot_set([0, 0, 0], classes=2)

    def knowing(*probabilities):
        return answering(torch.tensor([[p, 1 - p] for p in probabilities]).log())

    reference = readings(data, knowing(0.9, 0.02, 0.5), knowing(0.4, 0.01, 0.5))
    snapshots = readings(data, knowing(0.5, 0.5, 0.5), knowing(0.1, 0.01, 0.9))
    scores = made("learnability")(data, snapshots, reference)
    expected = [-math.log(0.1) + math.log(0.9 * 0.4) / 2, -math.log(0.01) + math.log(0.02 * 0.01) / 2, math.log(5 / 9)]
    assert scores.tolist() == pytest.approx(expected, rel=1e-4)
    # An image that nobody can learn has a high loss and little that is learnable.
    assert scores.argmax() == 0 and made("loss")(data, snapshots, reference).argmax() == 1


def test_learnability_is_the_loss_as_long_as_there_is_no_reference():
    data, network = blobs(), with_batch_norm()
    assert torch.equal(scored("learnability", data, [network]), scored("loss", data, [network]))


@pytest.mark.parametrize("name", [name for name in listed("scores") if name != "learnability"])
def test_other_scores_do_not_look_at_the_reference(name):
    data, networks = blobs(), [with_features(seed) for seed in range(3)]
    with_reference = made(name)(data, readings(data, *networks[:2]), readings(data, networks[2]))
    assert torch.equal(with_reference, scored(name, data, networks[:2]))


@pytest.mark.parametrize("name", ["el2n", "entropy", "gps", "grand", "learnability", "loss", "margin", "votes"])
def test_scores_of_one_moment_need_one_snapshot(name):
    assert made(name).snapshots_needed == 1


@pytest.mark.parametrize("name", ["aum", "forgetting", "lbpe"])
def test_scores_that_look_back_refuse_a_single_snapshot(name):
    data = one_hot_set([0, 1])
    with pytest.raises(ConfigError, match=rf"^snapshots must be >= 2 for the score '{name}', got 1$"):
        measure(data, [[answering(torch.eye(2))]], made(name))


@pytest.mark.parametrize("name", ["entropy", "gps", "grand", "learnability", "margin"])
def test_scores_of_one_moment_read_the_last_snapshot_alone(name):
    data, networks = blobs(), [with_features(seed) for seed in range(2)]
    assert torch.equal(scored(name, data, networks), scored(name, data, networks[1:]))
    assert not torch.equal(scored(name, data, networks), scored(name, data, networks[:1]))
