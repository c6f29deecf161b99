"""Ranks, differences and verdicts of hand-made accuracies."""

import numpy as np
import pandas as pd
import pytest

from dasm.errors import ConfigError
from pipeline.reporting import summary
from pipeline.reporting.ranking import Difference, by_group, difference, differences, judged, ranking
from pipeline.reporting.roster import Entry
from pipeline.reporting.scope import Scope

# The 97.5 % quantile of Student's t with 2 degrees of freedom, from a printed table.
T2 = 4.302653


def study(coresets=("random",)):
    return Scope(
        name="s",
        scored=("dasm", "a", "b"),
        controls=(),
        joint=(),
        coresets=coresets,
        networks=("convnet", "mlp"),
        segments=2,
        states=(1, 2),
        scores=(0, 1),
    )


def results(test, validation=None, prefix=4, network="convnet"):
    """Return the rows of accuracies in percent by arm, seed after seed."""
    rows = [
        [arm, prefix, network, seed, (validation or test)[arm][seed], value]
        for arm, values in test.items()
        for seed, value in enumerate(values)
    ]
    return pd.DataFrame(rows, columns=["arm", "prefix_ipc", "network", "seed", "validation", "test"])


TEST = {"dasm": [80, 82, 84], "a": [81, 81, 84], "b": [60, 70, 65], "random": [70, 70, 73]}
VALIDATION = {"dasm": [79, 82, 82], "a": [60, 70, 80], "b": [60, 61, 60], "random": [70, 71, 72]}


def places(scope=None, test=TEST, validation=VALIDATION):
    return {place.arm: place for place in ranking(results(test, validation), scope or study(), "convnet")}


def test_differences_are_the_paired_t_test_on_either_split():
    dasm = places()["dasm"]
    # Differences to random: 10, 12, 11 on test and 9, 11, 10 on validation; std 1 both.
    half = T2 / 3**0.5
    for split, mean in (("test", 11), ("validation", 10)):
        gap = dasm.random[split]
        assert [gap.mean, gap.lower, gap.upper, gap.n] == pytest.approx([mean, mean - half, mean + half, 3], rel=1e-6)
    gap = places()["a"].reference["test"]
    # -1, 1, 0.
    assert [gap.mean, gap.lower, gap.upper] == pytest.approx([0, -half, half], rel=1e-6)
    assert places()["random"].reference["validation"].mean == pytest.approx(10), "the reference minus the arm"


def test_the_sign_is_that_of_the_whole_interval():
    found = {arm: place.random["validation"].sign for arm, place in places().items() if place.random}
    assert found == {"dasm": 1, "a": 0, "b": -1}, "differences of a: -10, -1, 8; of b: -10, -10, -12"


def test_no_arm_is_compared_with_itself_nor_with_what_is_not_there():
    found = places()
    assert found["random"].random == {}
    assert found["dasm"].reference == {}
    alone = places(study(coresets=()), test={arm: TEST[arm] for arm in ("dasm", "a", "b")})
    assert all(place.random == {} for place in alone.values())


def test_equal_means_share_a_rank_and_the_next_is_passed_over():
    found = places()
    assert {arm: place.rank for arm, place in found.items()} == {"dasm": 1, "a": 1, "random": 3, "b": 4}
    assert [*found] == ["dasm", "a", "random", "b"], "best first, ties in the order of the study"
    # Sums of floats in another order differ in the last bits.
    tied = places(test={**TEST, "dasm": [0.1, 0.2, 0.3], "a": [0.3, 0.2, 0.1]})
    assert tied["dasm"].rank == tied["a"].rank


def test_mean_and_std_are_of_test_and_the_choice_of_validation():
    a = places()["a"]
    assert [a.mean, a.std, a.n, a.validation] == pytest.approx([82, 3**0.5, 3, 70])


def test_only_the_largest_size_of_the_network_counts_in_any_order_of_rows():
    other = {arm: [0.0, 50.0, 99.0] for arm in TEST}
    many = pd.concat(
        [
            results(TEST, VALIDATION).iloc[::-1],
            results(other, prefix=2),
            results(other, network="mlp"),
            results({"full": [99.0] * 3}, prefix=0),
        ]
    )
    assert {place.arm: place for place in ranking(many, study(), "convnet")} == places()


def test_one_seed_has_no_interval_and_no_verdict():
    gap = difference(np.array([80.0]), np.array([70.0]))
    assert (gap.mean, gap.n, gap.sign) == (10, 1, 0)
    assert np.isnan([gap.lower, gap.upper]).all()
    one = places(test={arm: values[:1] for arm, values in TEST.items()})
    assert np.isnan(one["a"].std)


def test_two_seeds_that_differ_alike_are_no_interval():
    gap = difference(np.array([80.1, 81.1]), np.array([70.3, 71.3]))
    assert gap.mean == pytest.approx(9.8) and gap.sign == 0
    assert difference(np.array([80.0, 81.0, 82.0]), np.array([70.0, 71.0, 72.0])).sign == 1
    assert difference(np.array([80.0, 80.1]), np.array([70.0, 70.0])).sign == 1, "nor is two seeds of some width one"


def test_the_same_set_agrees_in_every_training_and_on_both_splits():
    ours = {"validation": np.array([70.0, 71.0]), "test": np.array([80.0, 81.0])}
    assert all(gap.same for gap in differences(ours, {**ours}).values())
    other = {**ours, "validation": np.array([71.0, 70.0])}
    assert not any(gap.same for gap in differences(ours, other).values())
    one = {split: rows[:1] for split, rows in ours.items()}
    assert not any(gap.same for gap in differences(one, one).values()), "one training may agree by chance"


def test_sets_that_every_training_gets_wholly_right_may_be_different_ones():
    every = {"test": np.array([100.0, 100.0, 100.0]), "validation": np.array([100.0, 100.0, 100.0])}
    gaps = differences(every, {**every})
    assert not any(gap.same or gap.sign for gap in gaps.values())


def test_a_difference_comes_back_from_a_row():
    gap = difference(np.array([80.0, 81.0]), np.array([70.0, 72.0]), same=True)
    row = pd.Series({"arm": "a", **{name: getattr(gap, name) for name in ("mean", "lower", "upper", "n", "same")}})
    assert Difference.of(row) == gap


def test_other_seeds_cannot_be_paired():
    rows = results(TEST)
    with pytest.raises(ConfigError, match="convnet at IPC 4 must have the same seeds in every arm"):
        ranking(rows[:-1], study(), "convnet")


def test_arms_are_judged_that_compare_objectives_or_else_all_that_are_distilled():
    def entries(*arms):
        return tuple(Entry(arm=arm, what="", note="") for arm in arms)

    groups = {"reference": entries("dasm"), "joint": entries("b"), "window": entries("dasm", "a")}
    groups["coreset"] = entries("random")
    ranked = tuple(places().values())
    assert [place.arm for place in judged(ranked, groups)] == ["dasm", "a", "b"], "one objective"
    assert [place.arm for place in judged(ranked, {**groups, "objective": entries("dasm")})] == ["dasm", "b"]
    rows = by_group(ranked, groups)["window"]
    assert [(place.rank, entry.arm) for place, entry in rows] == [(1, "dasm"), (1, "a")]


def test_paired_differences_of_the_table_are_those_of_the_ranking():
    both = pd.concat([results(TEST, VALIDATION, network=network) for network in ("convnet", "mlp")])
    table = summary.paired(both, study())
    assert len(table) == 2 * 2 * (3 + 2)
    table = table[table["network"] == "convnet"].set_index(["split", "arm", "minus"])
    found = places()
    for split in ("test", "validation"):
        gap, row = found["b"].random[split], table.loc[split, "b", "random"]
        assert row[["mean", "lower", "upper"]].tolist() == [gap.mean, gap.lower, gap.upper]
        gap, row = found["a"].reference[split], table.loc[split, "dasm", "a"]
        assert row[["mean", "lower", "upper"]].tolist() == [gap.mean, gap.lower, gap.upper]
    assert ("test", "dasm", "random") in table.index
    assert "random" not in table.reset_index()["arm"].tolist()
