"""What each rule picks where the right answer is known, and against slow clear twins."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dasm import rng
from dasm.coresets import Guide, hardest_first
from dasm.coresets.ccs import CCS, _budgets
from dasm.coresets.el2n import HighestEL2N
from dasm.coresets.forgetting import MostForgotten
from dasm.coresets.herding import Herding
from dasm.coresets.k_center import KCenter
from dasm.coresets.k_means import KMeans
from dasm.coresets.window import SlidingWindow
from dasm.errors import ConfigError
from dasm.networks import Classifier
from dasm.readings import Reading
from dasm.scores.aum import AUM
from dasm.scores.forgetting import Forgetting
from dasm.scores.margin import Margin
from tests.handmade import numbered_set


def saying(**answers) -> Reading:
    """What a network that is never asked says: its logits, its features."""
    reading = Reading(Classifier(nn.Identity(), nn.Linear(1, 1)), numbered_set([0]))
    vars(reading).update(answers)
    return reading


def refuse(_):
    raise AssertionError("nobody is asked to judge")


def by_features(features, labels=None):
    """A set with these features, and its guide."""
    features = torch.tensor(features, dtype=torch.float32)
    features = features if features.dim() == 2 else features[:, None]
    return numbered_set(labels or [0] * len(features)), Guide(readings=[[saying(features=features)]], judge=refuse)


def by_difficulty(scores, labels=None, judge=refuse):
    """A set with these margins, turned round: higher is harder."""
    labels = labels or [0] * len(scores)
    logits = torch.zeros(len(scores), max(labels) + 2)
    logits[torch.arange(len(scores)), torch.tensor(labels)] = -torch.tensor(scores, dtype=torch.float32)
    return numbered_set(labels), Guide(readings=[[saying(logits=logits)]], judge=judge)


def picks(coreset, real_and_guide, count, seed=0):
    real, guide = real_and_guide
    return coreset(real, count, seed, guide).tolist()


def test_herding_keeps_the_running_mean_near_the_mean():
    # Mean 3. Nearest to it is 4 itself (1 away); then 3 * 2 - 4 = 2 is wanted, and 1 is nearer to it than 0 or 10.
    assert picks(Herding(), by_features([0.0, 1.0, 4.0, 10.0, 0.0]), 2) == [[2, 1]]
    # Then 3 * 3 - 5 = 4 is wanted: 0 is nearer to it than 10, and comes first of two; then 7, then what is left.
    assert picks(Herding(), by_features([0.0, 1.0, 4.0, 10.0, 0.0]), 5) == [[2, 1, 0, 3, 4]]


@given(st.integers(2, 14), st.integers(0, 99))
def test_herding_is_the_written_rule(size, seed):
    features = torch.rand(size, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
    chosen = []
    for step in range(1, size):
        target = step * features.double().mean(0) - features[chosen].double().sum(0)
        distances = {i: float((target - features[i].double()).norm()) for i in range(size) if i not in chosen}
        chosen.append(min(distances, key=distances.get))
    assert picks(Herding(), by_features(features.tolist()), size - 1) == [chosen]


def test_k_center_starts_in_the_middle_and_goes_to_the_farthest():
    # Mean 4.2: 4 is nearest. Then 10 is six away, then 0 four, then 2 two (from both 0 and 4), and 5 is left.
    assert picks(KCenter(), by_features([10.0, 5.0, 4.0, 0.0, 2.0]), 5) == [[2, 0, 3, 4, 1]]


@given(st.integers(2, 14), st.integers(0, 99))
def test_k_center_is_the_written_rule(size, seed):
    features = torch.rand(size, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).float()
    exact = features.double()
    chosen = [min(range(size), key=lambda i: float((exact[i] - exact.mean(0)).norm()))]
    while len(chosen) < size:
        rest = [i for i in range(size) if i not in chosen]
        chosen.append(max(rest, key=lambda i: min(float((exact[i] - exact[s]).norm()) for s in chosen)))
    assert picks(KCenter(), by_features(features.tolist()), size) == [chosen]


@pytest.mark.parametrize("coreset", [Herding(), KCenter(), KMeans()])
def test_images_that_are_all_alike_are_still_picked_once_each(coreset):
    (row,) = picks(coreset, by_features([3.0] * 6), 6)
    assert sorted(row) == list(range(6))


@pytest.mark.parametrize("coreset", [Herding(), KCenter(), KMeans()])
def test_classes_are_picked_from_one_by_one(coreset):
    features = [0.0, 1.0, 4.0, 10.0, 0.5, 2.5]
    alone = [features[i] for i in (1, 3, 5)]
    (expected,) = picks(coreset, by_features(alone), 2)
    assert picks(coreset, by_features(features, [1, 0, 1, 0, 1, 0]), 2)[0] == [(1, 3, 5)[i] for i in expected]


def test_features_are_those_of_the_first_network_once_trained():
    real, right = by_features([0.0, 1.0, 4.0, 10.0])
    wrong = saying(features=torch.tensor([[4.0], [9.0], [1.0], [5.0]]))
    readings = [[wrong, right.readings[0][0]], [wrong]]
    assert picks(Herding(), (real, Guide(readings=readings, judge=refuse)), 2) == picks(Herding(), (real, right), 2)


GROUPS = [9.0, 0.0, 0.1, 5.0, -0.2, 5.3, 0.4, 5.1]


def test_k_means_takes_the_middle_of_each_cluster_the_largest_cluster_first():
    # Clusters {0, .1, -.2, .4} with mean .075, {5, 5.3, 5.1} with mean 5.13, {9}.
    assert picks(KMeans(restarts=10), by_features(GROUPS), 3) == [[2, 7, 0]]


@given(st.integers(2, 9), st.integers(1, 4), st.integers(0, 20))
def test_k_means_finds_clusters_of_which_no_image_is_nearer_to_another_centre(size, count, seed):
    count = min(count, size)
    values = torch.rand(size, generator=torch.Generator().manual_seed(seed)).double()
    (row,) = picks(KMeans(restarts=20), by_features(values.tolist()), count)
    assert len(set(row)) == count
    # On a line the best clusters are intervals: try all.
    order = values.argsort()
    cuts = itertools.combinations(range(1, size), count - 1)
    parts = [torch.tensor_split(order, list(cut)) for cut in cuts]
    spread = [sum(float((values[p] - values[p].mean()).square().sum()) for p in part) for part in parts]
    best = parts[min(range(len(parts)), key=spread.__getitem__)]
    if sorted(spread)[0] < 0.999 * ([*sorted(spread), 9.0][1]):
        middles = [p[(values[p] - values[p].mean()).abs().argmin()].item() for p in best if len(p) != 2]
        assert set(middles) <= set(row)
        assert all(len(set(p.tolist()) & set(row)) == 1 for p in best)


def test_k_means_falls_back_on_second_images_where_clusters_are_empty():
    # Two different images for four clusters.
    (row,) = picks(KMeans(), by_features([1.0, 1.0, 1.0, 7.0, 7.0]), 4)
    assert len(set(row)) == 4
    assert [i < 3 for i in row[:2]] == [True, False], "one of each first, the larger group before the smaller"


def test_the_hardest_come_first_and_the_mean_counts_over_networks():
    labels = [0, 0, 0, 1, 1, 1]
    first = torch.tensor([[3.0, 0.0], [1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, -3.0]])
    second = torch.tensor([[3.0, 0.0], [1.0, 0.0], [-9.0, 0.0], [0.0, 1.0], [0.0, 2.0], [0.0, -3.0]])
    real = numbered_set(labels)
    for networks, expected in (([first], [[1, 2], [5, 3]]), ([first, second], [[2, 1], [5, 3]])):
        guide = Guide(readings=[[saying(logits=logits)] for logits in networks], judge=refuse)
        assert picks(HighestEL2N(), (real, guide), 2) == expected


def history(*rows):
    """Snapshots that get image i right (class 0) where row i has a `+`."""
    steps = zip(*rows, strict=True)
    return [saying(logits=torch.tensor([[1.0, 0.0] if c == "+" else [0.0, 1.0] for c in step])) for step in steps]


def test_the_most_forgotten_come_first_and_those_never_learnt_before_them():
    snapshots = history("++++", "+-+-", "----", "++--")
    real = numbered_set([0, 0, 0, 0, 1])
    snapshots = [saying(logits=torch.cat([s.logits, torch.zeros(1, 2)])) for s in snapshots]
    guide = Guide(readings=[snapshots], judge=refuse)
    assert guide.score(Forgetting(), real)[:4].tolist() == [0, 2, 4, 1]
    orders = hardest_first(real, guide.score(Forgetting(), real), 1, stream=0)
    assert orders[0].tolist() == [2, 1, 3, 0]


def test_ties_are_broken_by_lot_and_not_by_the_order_of_the_data():
    real, guide = numbered_set([0] * 30), Guide(readings=[history(*["+-"] * 15, *["++"] * 15)], judge=refuse)
    rows = [picks(MostForgotten(), (real, guide), 20, seed)[0] for seed in range(3)]
    assert all(set(row[:15]) == set(range(15)) for row in rows)
    assert len({tuple(row) for row in rows}) == 3 and list(range(15)) not in [row[:15] for row in rows]


@pytest.mark.parametrize("coreset", [MostForgotten(), SlidingWindow(), CCS()])
def test_rules_that_look_back_say_so_and_refuse_a_single_snapshot(coreset):
    assert coreset.snapshots_needed == 2
    with pytest.raises(ConfigError, match=r"^snapshots must be >= 2 for the score '\w+', got 1$"):
        picks(coreset, by_difficulty([0.0, 1.0, 2.0]), 1)


def test_rules_with_a_score_of_one_moment_need_one_snapshot():
    assert SlidingWindow(score=Margin()).snapshots_needed == CCS(score=Margin()).snapshots_needed == 1


def taste(wanted):
    """A judge that likes images of a given number on average."""
    return lambda rows: 1 / (1 + abs(float(rows.double().mean()) - wanted))


TEN = [float(i) for i in range(10)]


@pytest.mark.parametrize(
    ("options", "wanted", "expected"),
    [
        ({}, 9.0, [9, 8, 7]),
        ({}, 5.0, [6, 5, 4]),
        ({}, 0.0, [2, 1, 0]),
        ({"starts": (0.0, 0.5)}, 7.5, [9, 8, 7]),
        ({"starts": (0.5, 0.0)}, 5.0, [4, 3, 2]),
        ({"unit": "count"}, 5.0, [7, 6, 5]),
        ({"unit": "count", "starts": (0.4,)}, 5.0, [8, 7, 6]),
    ],
)
def test_the_window_lies_where_the_judge_likes_it_best(options, wanted, expected):
    coreset = SlidingWindow(score=Margin(), **options)
    judge = refuse if len(options.get("starts", "many")) == 1 else taste(wanted)
    assert picks(coreset, by_difficulty(TEN, judge=judge), 3) == [expected]


def test_of_equals_the_harder_window_is_taken():
    coreset = SlidingWindow(score=Margin(), starts=(0.3, 0.1))
    assert picks(coreset, by_difficulty(TEN, judge=lambda rows: 0.5), 3) == [[8, 7, 6]]


def test_every_place_with_room_in_the_smallest_class_is_judged_once():
    seen = []
    real_and_guide = by_difficulty(
        [*TEN, 0.0, 1.0, 2.0, 3.0, 4.0],
        [0] * 10 + [1] * 5,
        judge=lambda rows: seen.append(rows[:, 0].tolist()) or 0.0,
    )
    picks(SlidingWindow(score=Margin()), real_and_guide, 3)
    assert seen == [[9, 14], [8, 14], [7, 13], [6, 13], [5, 12], [4, 12]]


def test_a_prefix_of_a_window_is_the_window_at_the_same_place():
    coreset = SlidingWindow(score=Margin(), starts=(0.2,))
    (whole,) = picks(coreset, by_difficulty(TEN), 8)
    assert whole == [7, 6, 5, 4, 3, 2, 1, 0]
    assert picks(coreset, by_difficulty(TEN), 3) == [whole[:3]]


def test_a_place_without_room_is_refused():
    with pytest.raises(ConfigError, match=r"^starts must leave room for 3 images of every class, got \(0.8,\)$"):
        picks(SlidingWindow(score=Margin(), starts=(0.8,)), by_difficulty(TEN), 3)


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([5, 1, 9], 9, [4, 1, 4]),
        ([0, 0, 7], 5, [0, 0, 5]),
        ([2, 2, 2], 5, [1, 2, 2]),
        ([1, 8, 3], 12, [1, 8, 3]),
        ([3, 3, 3], 2, [0, 1, 1]),
        ([10, 1, 1, 10], 12, [5, 1, 1, 5]),
    ],
)
def test_strata_share_the_budget_from_the_smallest_up(sizes, count, expected):
    assert _budgets(torch.tensor(sizes), count).tolist() == expected


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12), st.integers(0, 99))
def test_strata_spend_the_budget_and_no_more_than_they_have(sizes, percent):
    count = sum(sizes) * percent // 100
    budgets = _budgets(torch.tensor(sizes), count)
    assert budgets.sum() == count and (budgets <= torch.tensor(sizes)).all()
    # Nobody gives more than a larger stratum does.
    order = torch.tensor(sizes).argsort(stable=True)
    assert (budgets[order].diff() >= 0).all()


# Ten images from 0 to 3.6 in four strata of width 1 once the three hardest are cut: sizes 5, 1, 0 and 1.
STRATA = [0.0, 0.1, 0.2, 0.3, 0.4, 1.5, 4.0, 8.0, 9.0, 10.0]


def test_ccs_cuts_the_hardest_and_then_takes_from_every_stratum():
    for seed in range(5):
        (row,) = picks(CCS(score=Margin(), bins=4), by_difficulty(STRATA), 4, seed)
        assert {5, 6} <= set(row) and len(set(row) & set(range(5))) == 2
        # In turns: one of each stratum comes before a second of any.
        assert len(set(row[:3]) & set(range(5))) == 1
        assert row[3] < 5


def test_ccs_draws_at_random_inside_a_stratum_and_starts_with_any():
    rows = [picks(CCS(score=Margin(), bins=4), by_difficulty(STRATA), 3, seed)[0] for seed in range(25)]
    assert {i for row in rows for i in row} == set(range(7))
    assert {row[0] for row in rows} >= {5, 6}
    assert any(row[0] < 5 for row in rows)


def test_ccs_cuts_no_more_than_leaves_the_wanted_images():
    assert set(picks(CCS(score=Margin(), cut=0.9), by_difficulty(TEN), 6)[0]) == set(range(6))
    assert set(picks(CCS(score=Margin(), cut=0.9), by_difficulty(TEN), 1)[0]) == {0}
    assert set(picks(CCS(score=Margin(), cut=0.3), by_difficulty(TEN), 7)[0]) == set(range(7))


def test_ccs_takes_any_where_all_are_equally_hard():
    rows = {tuple(picks(CCS(score=Margin(), cut=0.0), by_difficulty([1.0] * 8), 3, seed)[0]) for seed in range(5)}
    assert all(len(set(row)) == 3 for row in rows) and len(rows) == 5


def test_the_default_scores_are_those_of_the_papers():
    assert SlidingWindow().score == Forgetting() and CCS().score == AUM()


@pytest.mark.parametrize(
    ("make", "rule"),
    [
        (lambda: KMeans(restarts=0), "restarts must be >= 1, got 0"),
        (lambda: SlidingWindow(starts=()), r"starts must be at least one, got \(\)"),
        (lambda: SlidingWindow(starts=(0.0, 1.0)), r"starts must lie in \[0, 1\), got \(0.0, 1.0\)"),
        (lambda: CCS(cut=1.0), r"cut must be in \[0, 1\), got 1.0"),
        (lambda: CCS(bins=0), r"bins must be in \[1, 1e6\], got 0"),
    ],
)
def test_options_out_of_range_are_refused(make, rule):
    with pytest.raises(ConfigError, match=f"^{rule}$"):
        make()


def test_the_order_among_equals_has_a_stream_per_class():
    real, score = numbered_set([0] * 12 + [1] * 12), torch.zeros(24)
    first, second = hardest_first(real, score, 1, rng.derive(0, "x"))
    assert [i + 12 for i in first.tolist()] != second.tolist()
