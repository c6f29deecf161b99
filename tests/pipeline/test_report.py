"""The report of a small made-up study, numbers checked against hand-made ones."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dasm.errors import ConfigError
from pipeline import params as parameters
from pipeline import report
from pipeline.reporting import artefacts, drawing, figures, gallery, summary
from pipeline.reporting.strips import strip
from tests.pipeline import made_up
from tests.pipeline.made_up import NETWORKS, make_study, rewrite, scope, write_ledger, write_soft_labels


def written(root: Path) -> Path:
    return report.write(root, parameters.read(root / "params.yaml"))


def accuracies(root: Path, arm: str, state: int, network: str, split: str = "test") -> np.ndarray:
    rows = pd.read_parquet(root / f"data/results/{arm}/{state}.parquet")
    return 100 * rows[rows["network"] == network].sort_values("seed")[split].to_numpy()


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    make_study(root)
    # One arm below random at one size, on one network.
    path = root / "data/results/mosaic/2.parquet"
    rewrite(path, lambda rows: rows.__setitem__("test", rows["test"].where(rows["network"] == "mlp", 0.3)))
    written(root)
    return root


@pytest.fixture
def copied(study, tmp_path):
    return shutil.copytree(study, tmp_path / "copy")


@pytest.fixture
def undrawn(monkeypatch):
    """Spare the second that the figures take where only words and numbers are looked at."""
    monkeypatch.setattr(drawing, "svg", lambda *_: "")
    monkeypatch.setattr(drawing, "png", lambda *_: b"")


@pytest.fixture(scope="module")
def page(study):
    return (study / "reports/toy/index.html").read_text()


def test_writes_everything(study):
    names = {path.name for path in (study / "reports/toy").iterdir()}
    pictures = {"accuracy.png", "difficulty.png", "images.png"}
    assert names == {"index.html", "table.csv", "table.md", "paired.csv", "holdings.csv", "metrics.json"} | pictures


def test_table_holds_mean_and_sample_std(study, page):
    table = pd.read_csv(study / "reports/toy/table.csv").set_index(["network", "arm", "prefix_ipc"])
    assert len(table) == 2 * (5 * 3 + 1)
    for network in NETWORKS:
        for arm in ("dasm", "idc", "mosaic"):
            for state in (1, 2, 3):
                a = accuracies(study, arm, state, network)
                mean = sum(a) / 3
                std = (sum((x - mean) ** 2 for x in a) / 2) ** 0.5
                row = table.loc[network, arm, 2 * state]
                assert row[["mean", "std", "n"]].tolist() == pytest.approx([mean, std, 3], abs=1e-4)
                assert f'{mean:.1f}<span class="std"> ± {std:.1f}</span>' in page
    full = pd.read_parquet(study / "data/results/full.parquet").groupby("network")["validation"].mean()
    assert table.loc["mlp", "full", 0]["validation_mean"] == pytest.approx(100 * full["mlp"], abs=1e-4)


def test_sets_are_measured_against_random_images_and_all_real_data(study, page):
    table = pd.read_csv(study / "reports/toy/table.csv").set_index(["network", "arm", "prefix_ipc"])
    idc, random, full = (table.loc["mlp", arm, size] for arm, size in (("idc", 4), ("random", 4), ("full", 0)))
    assert idc["ior"] == pytest.approx(idc["mean"] - random["mean"], abs=2e-4)
    assert idc["hlr"] == pytest.approx(full["mean"] - idc["mean"], abs=2e-4)
    alpha = (idc["ior"] - idc["hlr"]) / 200
    assert idc["lrs"] == pytest.approx(100 * (math.exp(alpha) - 1 / math.e) / (math.e - 1 / math.e), abs=1e-3)
    assert random["ior"] == 0 and full[["ior", "hlr", "lrs"]].isna().all()
    assert f"<td>{idc['lrs']:.1f}</td>" in page


def test_the_label_robust_score_runs_from_nothing_to_a_hundred():
    ior, hlr = pd.Series([-100.0, 0.0, 100.0]), pd.Series([100.0, 0.0, -100.0])
    assert summary.label_robust_score(ior, hlr).tolist() == pytest.approx([0, 26.894, 100], abs=1e-3)


def test_sets_are_measured_without_augmentation_where_the_study_asks_for_it(copied):
    rng = np.random.default_rng(1)
    edit = copied / "params.yaml"
    edit.write_text(edit.read_text().replace("protocol: {}", "protocol: {unaugmented: true}"))
    with pytest.raises(ConfigError, match=r"dasm/1\.parquet: must have the columns arm, .*, unaugmented, .*, got"):
        written(copied)
    for path in (copied / "data/results").rglob("*.parquet"):
        lower = 0.1 * rng.random()
        rewrite(path, lambda rows, lower=lower: rows.__setitem__("unaugmented", rows["test"] - lower))
    written(copied)
    table = pd.read_csv(copied / "reports/toy/table.csv").set_index(["network", "arm", "prefix_ipc"])
    idc, random, full = (table.loc["mlp", arm, size] for arm, size in (("idc", 4), ("random", 4), ("full", 0)))
    beta = (idc["ior"] + idc["unaugmented"] - random["unaugmented"]) / 200
    assert idc["ars"] == pytest.approx(100 * (math.exp(beta) - 1 / math.e) / (math.e - 1 / math.e), abs=1e-3)
    assert random["ars"] == pytest.approx(26.894, abs=1e-3) and math.isnan(full["ars"])
    page = (copied / "reports/toy/index.html").read_text()
    assert f"<td>{idc['lrs']:.1f}</td><td>{idc['ars']:.1f}</td>" in page and page.count("ARS&nbsp;") == 2 * 3


def test_the_augmentation_robust_score_runs_from_nothing_to_a_hundred():
    either = pd.Series([-100.0, 0.0, 100.0])
    assert summary.augmentation_robust_score(either, either).tolist() == pytest.approx([0, 26.894, 100], abs=1e-3)
    assert summary.augmentation_robust_score(either, -either).tolist() == pytest.approx([26.894] * 3, abs=1e-3)


def test_best_of_a_column_is_bold_and_the_full_set_never(study, page):
    lines = (study / "reports/toy/table.md").read_text().splitlines()
    bold = [line.split(" | ")[0] for line in lines if "**" in line and line.startswith("|")]
    assert bold == ["| dasm", "| dasm"]
    assert sum(line.count("**") for line in lines if line.startswith("|")) == 2 * 2 * 3
    assert page.count('<td class="best">') >= 6
    table = summary.table(artefacts.read_results(study, scope(study)), scope(study))
    assert set(table[table["best"]]["arm"]) == {"dasm"}


def test_ties_are_all_best(copied):
    for n in (1, 2, 3):
        rows = pd.read_parquet(copied / f"data/results/dasm/{n}.parquet").assign(arm="idc")
        rows.assign(test=rows["test"].to_numpy()[::-1]).assign(network=rows["network"].to_numpy()[::-1]).to_parquet(
            copied / f"data/results/idc/{n}.parquet"
        )
    table = summary.table(artefacts.read_results(copied, scope(copied)), scope(copied))
    assert set(table[table["best"]]["arm"]) == {"dasm", "idc"}


def alike(root, arm, state=1, *, sets):
    """Give an arm the accuracies of the reference at one size, and its set as well if asked."""
    rows = pd.read_parquet(root / f"data/results/dasm/{state}.parquet")
    rows.assign(arm=arm).to_parquet(root / f"data/results/{arm}/{state}.parquet")
    if sets:
        shutil.rmtree(root / f"data/distilled/{arm}/{state}")
        shutil.copytree(root / f"data/distilled/dasm/{state}", root / f"data/distilled/{arm}/{state}")


@pytest.mark.parametrize("trainings", [1, 3])
@pytest.mark.parametrize(
    ("sharing", "bold"), [((), {"dasm", "idc", "mosaic"}), (("idc",), {"mosaic"}), (("idc", "mosaic"), set())]
)
def test_of_arms_that_tie_those_are_bold_that_hold_sets_of_their_own(copied, sharing, bold, trainings):
    """Whatever their accuracies say: one training may agree by chance, and a shared set may be learnt without fault."""
    for arm in ("idc", "mosaic"):
        alike(copied, arm, sets=arm in sharing)
    results = artefacts.read_results(copied, scope(copied))
    table = summary.table(results[results["seed"] < trainings], scope(copied)).query("prefix_ipc == 2")
    assert set(table[table["best"]]["arm"]) == {"dasm", "idc", "mosaic"}
    assert set(table[table["only"]]["arm"]) == bold
    right = summary.table(results.assign(test=100.0), scope(copied)).query("prefix_ipc == 2 and only")
    assert set(right["arm"]) == bold | {"sequential", "random"}


def test_a_set_is_the_same_in_any_order_and_in_any_number_of_segments(study, copied):
    folder = copied / "data/distilled/sequential/2"
    whole = pa.concat_tables([pq.read_table(file) for file in sorted(folder.iterdir())])
    known = artefacts.fingerprint(folder)
    (folder / "s1.parquet").unlink()
    pq.write_table(whole.take([*range(1, len(whole)), 0]), folder / "s0.parquet")
    assert artefacts.fingerprint(folder) == known
    others = {artefacts.fingerprint(study / f"data/distilled/{arm}/2") for arm in ("dasm", "idc", "sequential")}
    assert len(others) == 3 and known in others
    for change in ("label", "factor"):
        column = whole.schema.get_field_index(change)
        moved = whole.set_column(column, change, pa.array([2 - v for v in whole[change].to_pylist()]))
        pq.write_table(moved, folder / "s0.parquet")
        assert artefacts.fingerprint(folder) != known
    pq.write_table(whole, folder / "s0.parquet")
    for share in (0.0, 1.0):
        write_soft_labels(folder / "s0.parquet", pa.array([[[share] * 3]] * len(whole)))
        found = artefacts.fingerprint(folder)
        assert found not in others
        others.add(found)
        pq.write_table(whole, folder / "s0.parquet")


@pytest.mark.usefixtures("undrawn")
def test_where_arms_share_a_set_it_is_said_and_nothing_is_bold(copied):
    alike(copied, "idc", sets=True)
    folder = written(copied)
    table = summary.table(artefacts.read_results(copied, scope(copied)), scope(copied))
    assert set(table[table["best"] & ~table["only"]]["arm"]) == {"dasm", "idc"}
    assert set(table[table["only"]]["prefix_ipc"]) == {4, 6}
    lines = [line for line in (folder / "table.md").read_text().splitlines() if line.startswith("| dasm")]
    assert [line.count("**") for line in lines] == [4, 4]
    (row, _) = re.findall(
        r'<th scope="row">idc</th>(<td>(?:(?!</tr>).)*same set.*?)</tr>', (folder / "index.html").read_text()
    )
    first, *others = row.split("</td>")[:-1]
    assert first == '<td><span class="muted">same set</span>' and all("whisker" in cell for cell in others)
    assert "Same set: both arms hold it at that size." in (folder / "index.html").read_text()


@pytest.mark.usefixtures("undrawn")
def test_all_that_validation_images_prefer_are_named_in_the_first_sentence(copied):
    """Whatever the test images say."""

    def words():
        return " ".join(re.sub("<[^>]+>|&nbsp;", " ", (written(copied) / "index.html").read_text()).split())

    arms = ("dasm", "sequential", "idc", "random", "mosaic")
    means = {arm: accuracies(copied, arm, 3, "convnet", "validation").mean() for arm in arms}
    (best,) = [arm for arm in arms if means[arm] == max(means.values())]
    assert f"At 6 images per class, validation images prefer {best} for training convnet: " in words()
    rows = pd.read_parquet(copied / f"data/results/{best}/3.parquet")
    lowered = copied / f"data/results/{best}/3.parquet"
    rewrite(lowered, lambda rows: rows.__setitem__("test", rows["test"] / 2))
    assert f"validation images prefer {best} for training convnet: " in words()
    rows.to_parquet(lowered)
    for arm in ("dasm", "sequential", "idc"):
        rows.assign(arm=arm).to_parquet(copied / f"data/results/{arm}/3.parquet")
    said = r"prefer dasm , sequential and idc for training convnet: ([\d.]+) % , \1 % and \1 % of the test images right"
    assert re.search(said, words())


TERMS = {
    "": {},
    "All sets are judged with hard labels, whatever they store.": {"labels": "hard"},
    "All sets, and all real data, are labelled by one convnet that learnt all real images. "
    "Networks learn the first segment, then the first two, and so on.": {"labels": "teacher", "order": "stagewise"},
}


@pytest.mark.parametrize("said", TERMS)
@pytest.mark.usefixtures("undrawn")
def test_unusual_terms_of_the_benchmark_are_said_in_table_and_page(copied, said):
    params = parameters.read(copied / "params.yaml")
    params["benchmark"]["protocol"] = {**params["benchmark"]["protocol"], **TERMS[said]}
    folder = report.write(copied, params)
    page, table = (folder / "index.html").read_text(), (folder / "table.md").read_text()
    every = {sentence for terms in TERMS for sentence in terms.split(". ") if sentence}
    for text in (page, table):
        assert [sentence in text for sentence in sorted(every)] == [sentence in said for sentence in sorted(every)]
    assert said in table and said in page


@pytest.mark.usefixtures("undrawn")
def test_the_finding_of_two_arms_with_one_set_is_that(copied):
    rows = pd.read_parquet(copied / "data/results/dasm/3.parquet")
    rows.assign(arm="idc").to_parquet(copied / "data/results/idc/3.parquet")
    assert "<b>dasm</b> and <b>idc</b> hold the same set." in (written(copied) / "index.html").read_text()


def test_work_taken_over_counts_as_spared_where_it_is_in_the_sum_already(tmp_path):
    ledger = tmp_path / "data/ledger"
    ledger.mkdir(parents=True)
    cost = dict.fromkeys(("peak_memory_mb", "forward_images", "backward_images", "flops"), 1)

    def spared(**entries):
        rows = []
        for name, more in entries.items():
            path = ledger / f"{name}.json"
            path.write_text(
                json.dumps({"stage": "train", "name": name, "seconds": 4.0, "device": "cpu", **cost, **more})
            )
            rows.append(artefacts._entry(path))
        return summary.shared(pd.DataFrame(rows))

    taken = {"work": "w", "taken_from": "train@a-s0", "origin": "a"}
    assert spared(a={"work": "w"}, b=taken, c={}) == {"stages": 1, "seconds": 4.0}
    assert spared(a={"work": "w"}, b={}, c={}) == {}
    # Its origin is gone, or has done something else since: the first who has it stands for it.
    assert spared(b=taken, c={}) == {} and spared(b=taken, c=taken) == {"stages": 1, "seconds": 4.0}
    assert spared(a={"work": "v"}, b=taken) == {}


@pytest.mark.usefixtures("undrawn")
def test_costs_call_the_full_set_what_other_tables_call_it(copied):
    write_ledger(copied, "ceiling", "ceiling", "full", [])
    section = (written(copied) / "index.html").read_text().split('<section id="cost">')[1].split("</section>")[0]
    assert '<th scope="row">all real data</th>' in section and '<th scope="row">full</th>' not in section
    assert "Shared: what all arms build on" in section and '<th scope="row">shared</th>' in section


def test_figures_say_what_they_show_to_those_who_cannot_see_them(page):
    names = re.findall(r'role="img" aria-label="([^"]+)"', page)
    assert names[:2] == [
        f"Accuracy of each arm over images per class, on the {network}; the numbers are in Table 1"
        for network in NETWORKS
    ]
    assert all(len(name.split()) > 5 for name in names) and len(names) == len({*names})


def test_the_name_of_a_figure_is_escaped():
    assert 'aria-label="&quot;&lt;a&gt;"' in drawing.svg(figures.distances("a", {"b": [1.0, 2.0]}), '"<a>')


def test_worse_than_random_is_marked_and_nothing_else(study, page):
    table = summary.table(artefacts.read_results(study, scope(study)), scope(study))
    marked = table[table["below_random"]][["network", "arm", "prefix_ipc"]].to_numpy().tolist()
    assert marked == [["convnet", "mosaic", 4]]
    assert page.count('title="below random">▾') == 1
    cells = [line for line in (study / "reports/toy/table.md").read_text().splitlines() if "▾" in line and "|" in line]
    assert len(cells) == 1
    assert "| 30.0 ± 0.0 ▾ |" in cells[0]


def test_paired_difference_is_the_paired_t_test(study):
    paired = pd.read_csv(study / "reports/toy/paired.csv")
    assert len(paired) == 2 * 3 * 2 * (4 + 3), "networks, sizes, splits; minus every other, and others minus random"
    paired = paired[(paired["split"] == "test") & (paired["arm"] == "dasm")]
    paired = paired.set_index(["network", "prefix_ipc", "minus"])
    for network in NETWORKS:
        for state in (1, 2, 3):
            ours, theirs = (accuracies(study, arm, state, network) for arm in ("dasm", "idc"))
            d = ours - theirs
            mean = sum(d) / 3
            # 4.302653 is the 97.5 % quantile of Student's t with 2 degrees of freedom, from a printed table.
            half = 4.302653 * (sum((x - mean) ** 2 for x in d) / 2) ** 0.5 / 3**0.5
            row = paired.loc[network, 2 * state, "idc"]
            expected = [mean, mean - half, mean + half, 3]
            assert row[["mean", "lower", "upper", "n"]].tolist() == pytest.approx(expected, abs=1e-4)


@pytest.mark.usefixtures("undrawn")
def test_pairs_by_seed_not_by_row(copied):
    def reverse(rows):
        rows.iloc[:] = rows.iloc[::-1].to_numpy()

    before = pd.read_csv(copied / "reports/toy/paired.csv")
    rewrite(copied / "data/results/idc/3.parquet", reverse)
    pd.testing.assert_frame_equal(pd.read_csv(written(copied) / "paired.csv"), before)


@pytest.mark.parametrize(
    ("shift", "verdict"),
    [(0.3, "is better"), (-0.3, "is worse"), (0.01, "includes zero"), (-0.01, "includes zero")],
)
@pytest.mark.usefixtures("undrawn")
def test_the_finding_says_what_the_interval_says(copied, shift, verdict):
    theirs = pd.read_parquet(copied / "data/results/idc/3.parquet")["test"].to_numpy()
    noise = np.array([0.01, -0.01, 0.002] * 2)
    rewrite(
        copied / "data/results/dasm/3.parquet", lambda rows: rows.__setitem__("test", theirs * 0.7 + shift / 2 + noise)
    )
    rewrite(copied / "data/results/idc/3.parquet", lambda rows: rows.__setitem__("test", theirs * 0.7))
    lede = re.search(r'<p class="lede">(.*?)</p>', (written(copied) / "index.html").read_text(), re.DOTALL)
    assert lede
    said = [verdict for verdict in ("is better", "is worse", "includes zero") if verdict in lede[1]]
    assert said == [verdict]
    assert "dasm minus idc" in lede[1]


@pytest.mark.usefixtures("undrawn")
def test_one_seed_has_no_interval(copied):
    for path in (copied / "data/results").rglob("*.parquet"):
        rows = pd.read_parquet(path)
        rows[rows["seed"] == 0].to_parquet(path)
    text = (written(copied) / "index.html").read_text()
    assert "one seed gives no interval" in text
    assert "nan" not in re.sub(r"base64,[^\"]*", "", text).lower()
    assert "±" not in (copied / "reports/toy/table.md").read_text().split("size", 1)[1]


def test_metrics_are_nested_for_dvc_and_have_the_split_that_choices_are_made_on(study):
    metrics = json.loads((study / "reports/toy/metrics.json").read_text())
    assert set(metrics["convnet"]) == {"dasm", "sequential", "idc", "random", "mosaic", "full"}
    means = metrics["mlp"]["random"]["ipc4"]
    for split in ("validation", "test"):
        assert means[split] == round(accuracies(study, "random", 2, "mlp", split).mean(), 2)
    full = pd.read_parquet(study / "data/results/full.parquet").groupby("network")[["validation", "test"]].mean()
    assert metrics["mlp"]["full"] == (100 * full.loc["mlp"]).round(2).to_dict()


def test_difficulty_is_summed_up_by_hand(study):
    states = [pd.read_parquet(study / f"data/difficulty/dasm/{n}.parquet") for n in range(4)]
    rows = summary.difficulty(states, len(states) - 1)
    for n in (1, 2, 3):
        inside = []
        for label in states[0]["label"].unique():
            a, b = (np.argsort(np.argsort(states[i].loc[states[i]["label"] == label, "score"])) for i in (n - 1, n))
            inside.append(1 - 6 * sum((a - b) ** 2) / (len(a) * (len(a) ** 2 - 1)))
        assert rows["spearman"][n] == pytest.approx(np.mean(inside)), "classes of one size"
    window = states[1][states[1]["weight"] > 0]["score"]
    assert rows["window"][1] == pytest.approx(float(window.mean()))
    assert np.isnan(rows["window"][3]), "no segment follows the last state"
    assert rows["right"][2] == pytest.approx(100 * states[2]["right"].mean())


def test_scores_that_tie_say_nothing_of_each_other_by_where_they_stand():
    """Votes of a single network: nearly all images have the same score, and two states need not agree on any."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(10), 100)

    def state(score):
        rank = pd.Series(score).groupby(labels).rank(method="first") / 100
        return pd.DataFrame({"label": labels, "score": score, "rank": rank, "right": 0.0, "weight": 1.0})

    one, other = (state((rng.random(1000) < 0.1).astype(float)) for _ in range(2))
    assert abs(summary.difficulty([one, other], 2)["spearman"][1]) < 0.1
    assert one["rank"].corr(other["rank"]) > 0.4, "as ranks would that break ties by position"
    assert summary.difficulty([one, one], 2)["spearman"][1] == pytest.approx(1)
    assert summary.difficulty([one, state(np.ones(1000))], 2)["spearman"].isna().all()


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("labels", ["own", "hard", "teacher"])
def test_what_is_about_hard_labels_is_not_said_of_others(copied, labels):
    path = copied / "data/distilled/idc/3/s0.parquet"
    write_soft_labels(path, pa.array([[0.0] * 3] * pq.read_table(path).num_rows, pa.list_(pa.float32())))
    edit = copied / "params.yaml"
    edit.write_text(edit.read_text().replace("protocol: {}", f"protocol: {{labels: {labels}}}"))
    text = (written(copied) / "index.html").read_text()
    table = pd.read_csv(copied / "reports/toy/table.csv").set_index(["network", "arm", "prefix_ipc"])
    idc, dasm = (table.loc["mlp", arm, 6] for arm in ("idc", "dasm"))
    assert dasm[["hlr", "lrs"]].isna().all() == (labels == "teacher")
    assert idc[["hlr", "lrs"]].isna().all() == (labels != "hard")
    # With a teacher random images have its labels too, and so what a set is above them is about images.
    assert math.isnan(idc["ior"]) == (labels == "own") and not math.isnan(dasm["ior"])
    expected = {"own": "an arm without them was not judged", "teacher": "no arm was judged"}
    assert [said for said in expected.values() if said in text] == [
        said for key, said in expected.items() if key == labels
    ]


@pytest.mark.usefixtures("undrawn")
def test_wrong_labels_are_counted_in_every_window_where_there_are_any(copied, page):
    assert "wrong" not in page
    before = np.load(copied / "data/real/train.labels.npy")
    truth = np.where(np.arange(len(before)) < 30, (before + 1) % 3, before)
    np.save(copied / "data/real/train.truth.npy", truth)
    text = (written(copied) / "index.html").read_text()
    assert "real images (25.0 % labelled wrongly on purpose)." in text
    assert (
        "All 120 real training images (25.0 % labelled wrongly on purpose): "
        in (copied / "reports/toy/table.md").read_text()
    )
    states = artefacts.read_states(copied, scope(copied))["dasm"]
    shares = summary.difficulty(states, 3)["wrong"]
    for n in (1, 2):
        inside = pd.read_parquet(copied / f"data/difficulty/dasm/{n}.parquet").query("weight > 0")["index"]
        assert shares[n] == pytest.approx(100 * (inside < 30).mean())
        assert f"<td>{shares[n]:.1f}</td>" in text
    assert shares[0] == 25 and np.isnan(shares[3])


@pytest.mark.parametrize(("largest", "said"), [(20, ""), (21, " (10 to 21 per class)")])
@pytest.mark.usefixtures("undrawn")
def test_real_images_of_uneven_classes_are_said_to_be_so(copied, largest, said):
    """The accuracy on all of them is no upper line then."""
    labels = np.repeat([0, 1, 2], [10, 12, largest])
    for path in (copied / "data/difficulty/dasm").glob("*.parquet"):
        rows = pd.read_parquet(path).head(len(labels))
        rows.assign(label=labels).to_parquet(path)
    assert f"real images{said}." in (written(copied) / "index.html").read_text()


def test_of_a_soft_window_wrong_labels_count_by_their_weight():
    state = pd.DataFrame({"wrong": [1.0, 0.0, 0.0, 1.0], "weight": [3.0, 1.0, 0.0, 0.0]})
    assert summary.wrong(state) == 75
    assert np.isnan(summary.wrong(state[["weight"]]))


def test_costs_are_summed_and_memory_is_not(study):
    ledger = made_up.ledger(study)
    by_arm = summary.cost(ledger, ["arm"]).set_index("arm")
    expected = {"stages": 6, "seconds": 15, "forward_images": 6000, "backward_images": 2400, "flops": 18 * 10**9}
    expected["peak_memory_mb"] = 300
    assert by_arm.loc["dasm"][list(expected)].tolist() == list(expected.values())
    assert by_arm.loc[""]["stages"] == 1


def test_costs_of_another_study_are_passed_over(copied):
    before = made_up.ledger(copied)
    write_ledger(copied, "distill", "distill-older-0", "older", [])
    longer = {"distill": 9, "control": 9, "score": 9, "train": 9, "benchmark": 9, "experts": 0}
    for stage, number in longer.items():
        (copied / f"data/ledger/{stage}-dasm-{number}.json").write_text("of another version")
    pd.testing.assert_frame_equal(made_up.ledger(copied), before)
    assert before["arm"].drop_duplicates().tolist() == ["", "dasm", "sequential", "idc", "random", "mosaic"]


def test_an_arm_of_another_kind_leaves_no_cost_of_what_it_was(copied):
    """Entries of its former stages carry its name and lie where they lay."""
    params = copied / "params.yaml"
    params.write_text(params.read_text().replace("arms: [dasm]", "arms: [dasm, sequential]", 1))
    params.write_text(params.read_text().replace("controls: [sequential, idc]", "controls: [idc]"))
    write_ledger(copied, "distill", "distill-sequential-0", "sequential", [])
    found = made_up.ledger(copied)
    assert {*found[found["arm"] == "sequential"]["stage"]} == {"distill", "benchmark"}


def test_stages_that_had_nothing_to_do_are_no_runs(copied):
    """Nor does the device on which they did nothing count."""
    before = made_up.ledger(copied)
    path = copied / "data/ledger/experts-dasm-1.json"
    write_ledger(copied, "experts", path.stem, "dasm", [])
    assert len(made_up.ledger(copied)) == len(before) + 1
    path.write_text(json.dumps({**json.loads(path.read_text()), "passed": True}))
    pd.testing.assert_frame_equal(made_up.ledger(copied), before)


def test_real_images_are_those_of_the_window_in_order_of_rank(study):
    real = gallery.Real.read(study)
    table = pd.read_parquet(study / "data/difficulty/dasm/2.parquet")
    inside = table[(table["label"] == 1) & (table["weight"] > 0)].sort_values("rank")["index"].tolist()
    even = [inside[round(i * (len(inside) - 1) / 5)] for i in range(6)]
    assert real.across(1, table, 6) == strip([real.images[i].transpose(1, 2, 0) for i in even])


def test_synthetic_images_are_the_stored_ones(study):
    real = gallery.Real.read(study)
    windows = [pd.read_parquet(study / f"data/difficulty/dasm/{n}.parquet") for n in range(4)]
    sheets = gallery.segments(study / "data/distilled/dasm/3", real, windows, gallery.Most())
    assert [(s.index, s.ipc, s.factor, s.lower, s.upper) for s in sheets] == [
        (k, 2, 2, 0.125 * k, 0.5 + 0.125 * k) for k in range(3)
    ]
    members = np.flatnonzero(np.array(real.labels) == 2)[2:4]
    assert sheets[1].rows[2][1] == strip([255 - real.images[i].transpose(1, 2, 0) for i in members])
    assert gallery.whole(study / "data/distilled/idc/3", real, gallery.Most()).ipc == 6


def test_same_inputs_same_bytes(study, copied):
    shutil.rmtree(copied / "reports")
    folder = written(copied)
    for path in sorted((study / "reports/toy").iterdir()):
        assert path.read_bytes() == (folder / path.name).read_bytes(), path.name


def test_page_loads_nothing(page):
    assert "http://" not in page
    assert "https://" not in page
    assert "<script" not in page
    loads = re.findall(r'(?:src|href)="([^"]{,12})|url\(([^)]{,12})', page)
    assert loads
    assert all((a or b).startswith(("data:", "#")) for a, b in loads)


def test_page_shows_parameters_escaped_and_their_hash(study, page):
    assert f"values in params.yaml, digest <code>{parameters.digest(parameters.read(study / 'params.yaml'))}<" in page
    assert "a comment &lt;that&gt; the page must show" in page
    assert "&lt;0&gt;" in page
    assert "dvc repro" in page
    assert page.count('<span class="tag">unseen</span>') == 2


def test_figures_share_no_identifier_and_no_fixed_ink(page):
    drawings = re.findall(r"<svg viewBox[^>]*role.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 2 + 1 + 1 + 3, "accuracy, difficulty, that of the segments, distances"
    identifiers = [name for drawing in drawings for name in set(re.findall(r' id="([^"]+)"', drawing))]
    assert len(identifiers) == len(set(identifiers))
    used = {name for drawing in drawings for name in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', drawing)}
    assert {a or b for a, b in used} <= set(identifiers)
    assert all("currentColor" in drawing for drawing in drawings)


def test_every_arm_is_named_in_the_figure_even_where_lines_meet(copied):
    for path in (copied / "data/results").rglob("*.parquet"):
        rewrite(path, lambda rows: rows.__setitem__("test", 0.5))
    table = summary.table(artefacts.read_results(copied, scope(copied)), scope(copied))
    drawn = drawing.svg(figures.accuracy(table, scope(copied), ["convnet"]), "accuracy")
    names = [*scope(copied).arms, "all real data"]
    places = [float(re.search(rf' y="([0-9.]+)"[^>]*>{name}<', drawn)[1]) for name in names]
    assert np.diff(sorted(places)).min() > 6


def test_colours_of_the_page_are_those_of_the_figures():
    css = (Path(drawing.__file__).parent / "report.css").read_text()
    for i, colour in enumerate(drawing.SERIES):
        assert f"--s{i}: {colour};" in css


@pytest.mark.parametrize(
    "path",
    [
        "data/results/idc/2.parquet",
        "data/results/full.parquet",
        "data/difficulty/dasm/3.parquet",
        "data/real/meta.json",
    ],
)
def test_a_missing_file_is_one_line_that_names_it(copied, path):
    (copied / path).unlink()
    with pytest.raises(ConfigError) as caught:
        written(copied)
    assert "\n" not in str(caught.value)
    assert path.removesuffix("/meta.json") in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("arm", "dasm", "only arm idc"),
        ("prefix_ipc", 5, "prefix_ipc must be 4"),
        ("network", "vgg", "networks of params"),
        ("seed", 0, "each network and seed once"),
        ("test", 71.0, "must be in"),
    ],
)
def test_odd_results_are_one_line_that_names_the_file(copied, column, value, rule):
    rewrite(copied / "data/results/idc/2.parquet", lambda rows: rows.__setitem__(column, value))
    with pytest.raises(ConfigError, match=rf"idc/2.parquet: .*{rule}.*, got"):
        written(copied)


@pytest.mark.usefixtures("undrawn")
def test_other_seeds_cannot_be_paired(copied):
    rewrite(copied / "data/results/idc/2.parquet", lambda rows: rows.__setitem__("seed", rows["seed"] + 1))
    with pytest.raises(ConfigError, match="must have the same seeds in every arm"):
        written(copied)


def test_report_costs_no_import_of_torch():
    code = "import sys, pipeline.stages.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
