"""The page of a study of many arms: ranked, folded, light; and studies of other shapes."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import params as parameters
from pipeline import report
from pipeline.reporting import artefacts, drawing
from tests.pipeline.made_up import make_study, rewrite, scope, write_soft_labels, zoo

WIDE = """\
study: wide
arms: [dasm, w1, w2, w3, w4, w5, w6]
controls: [idc]
coresets: [random, mosaic]
method: {idc: {joint: true}, w1: {selection: {window: {width: 0.1}}}}
"""


def written(root):
    folder = report.write(root, parameters.read(root / "params.yaml"))
    return (folder / "index.html").read_text(), folder


def test_wrong_labels_are_counted_in_every_window_of_every_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: "")
    monkeypatch.setattr(drawing, "png", lambda *_: b"")
    make_study(tmp_path, WIDE)
    labels = np.load(tmp_path / "data/real/train.labels.npy")
    np.save(tmp_path / "data/real/train.truth.npy", np.where(labels == 0, 1, labels))
    page, _ = written(tmp_path)
    (row,) = re.findall(r'<tr><th scope="row">w6</th>(<td class="text">.*?)</tr>', page)
    said = [words(cell) for cell in row.split("</td>")[:-1]]
    # Every window holds the same share of each of the three classes.
    assert [text.rpartition(", ")[2] for text in said[:3]] == ["33.3 % wrong labels"] * 3
    assert "wrong" not in said[3], "no segment follows the last state"
    assert "Joint arms are scored once" not in page


def test_a_joint_arm_with_a_window_has_one_state(tmp_path, monkeypatch):
    """Its sets are all distilled under the window of state 0, so nothing moves."""
    monkeypatch.setattr(drawing, "svg", lambda *_: "")
    monkeypatch.setattr(drawing, "png", lambda *_: b"")
    window = "w6: {joint: true, selection: {first_window: window}}"
    make_study(tmp_path, WIDE.replace("w1: {selection", f"{window}, w1: {{selection"))
    for state in (1, 2, 3):
        (tmp_path / f"data/difficulty/w6/{state}.parquet").unlink()
    page, _ = written(tmp_path)
    cells = {
        arm: re.search(rf'<tr><th scope="row">{arm}</th>(<td class="text">.*?)</tr>', page)[1].count("<td")
        for arm in ("w5", "w6")
    }
    assert cells == {"w5": 4, "w6": 1}
    assert "Joint arms are scored once" in page
    (sheets,) = re.findall(r"<h4>w6.*?(?=<h4|</details>)", page, re.DOTALL)
    assert sheets.count("segment") == 1


def set_accuracies(root, arm, validation=None, test=None, state=2):
    """Give an arm accuracies by seed, the same for both networks."""

    def change(rows):
        for split, values in (("validation", validation), ("test", test)):
            if values is not None:
                rows[split] = [values[seed] for seed in rows["seed"]]

    rewrite(root / f"data/results/{arm}/{state}.parquet", change)


def words(html):
    """Return the words of a page, with a plain minus and dash."""
    plain = re.sub("<[^>]+>", " ", html).replace("\N{MINUS SIGN}", "-").replace("\N{EN DASH}", "none")
    return re.sub(r"\s+", " ", plain).strip()


def cells(page, network, arm):
    """Return what each ranking table of a network says of an arm: a row per group."""
    tables = re.findall(r'<table class="ranking">(.*?)</table>', page, re.DOTALL)
    (table,) = [table for table in tables if f"<thead><tr><th>{network}" in table]
    rows = re.findall(rf'<tr[^>]*><th scope="row">{arm}</th>(.*?)</tr>', table)
    return [[words(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", row)] for row in rows]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("zoo")
    make_study(root, zoo(), states=2, benchmarked=(2,), classes=6)
    set_accuracies(root, "random", [0.50, 0.52, 0.54], [0.50, 0.50, 0.50])
    set_accuracies(root, "dasm", [0.60, 0.62, 0.65], [0.90, 0.90, 0.93])
    set_accuracies(root, "dm", [0.51, 0.50, 0.56], [0.70, 0.71, 0.72])
    set_accuracies(root, "sre2l-joint", [0.40, 0.42, 0.44], [0.60, 0.61, 0.62])
    set_accuracies(root, "sre2l", [0.44, 0.44, 0.46], [0.95, 0.95, 0.95])
    return root


@pytest.fixture(scope="module")
def page(study):
    return written(study)[0]


@pytest.fixture
def undrawn(monkeypatch):
    monkeypatch.setattr(drawing, "svg", lambda *_: "")
    monkeypatch.setattr(drawing, "png", lambda *_: b"")


def test_a_row_of_the_ranking_by_hand(page):
    # dasm minus random: 10, 10, 11 on validation and 40, 40, 43 on test; the interval is 4.302653 / sqrt(3) standard
    # deviations to either side.
    rows = cells(page, "convnet", "dasm")
    assert len(rows) == 1 + 5, "its own group and the five that it is compared in"
    for rank, accuracy, what, *differences in rows:
        assert (rank, accuracy) == ("2", "91.0 ± 1.7")
        assert what
        assert differences == ["+10.33 +8.90 to +11.77", "+41.00 +36.70 to +45.30", "none"]
    ((rank, accuracy, what, *differences),) = cells(page, "convnet", "sre2l")
    assert (rank, accuracy) == ("1", "95.0 ± 0.0")
    assert what == "sre2l, real_batch 32, learning_rate 10 Ten steps recover &lt;nothing&gt;."
    assert differences == ["-7.33 -10.20 to -4.46", "+45.00 +45.00 to +45.00", "-4.00 -8.30 to +0.30"]
    ((_, _, _, *differences),) = cells(page, "convnet", "random")
    assert differences == ["none", "none", "+41.00 +36.70 to +45.30"]


def test_bold_is_what_excludes_zero(page):
    (row,) = re.findall(r'<tr[^>]*><th scope="row">sre2l</th>(.*?)</tr>', page.split('<table class="ranking">')[1])
    bold = [words(cell)[:5] for cell in re.findall(r'<td class="best">(.*?)</td>', row)]
    assert bold == ["95.0 ", "-7.33", "+45.0"]


def test_every_arm_is_ranked_once_or_with_its_group(study, page):
    for network in ("convnet", "mlp"):
        ranks = {arm: {row[0] for row in cells(page, network, arm)} for arm in scope(study).arms}
        assert sorted(int(rank) for (rank,) in ranks.values()) == [*range(1, len(ranks) + 1)]


def verdict(page, network):
    """Return the sentences of a network's verdict, and the list that is folded below them."""
    found = re.findall(r'<p class="finding">(.*?)</p>\s*<details>(.*?)</details>', page, re.DOTALL)
    (said,) = [(text, folded) for text, folded in found if words(text).startswith(network)]
    return [words(line) for line in said[0].split("<br>")], [words(item) for item in said[1].split("<li>")[1:]]


def test_the_page_tells_arms_from_random_by_the_interval_on_validation(page):
    (head, above, between, below), folded = verdict(page, "convnet")
    assert head == "convnet. 20 arms that compare objectives, minus random images on validation, in points:"
    assert above.startswith("17 are above random , the whole 95 % interval above zero: ")
    names = set(re.findall(r"([\w-]+) \+\d", above)) - {"test"}
    assert {"dasm", "idc", "dc-joint", "ncfm"} <= names
    assert not {"dm", "sre2l", "sre2l-joint", "sequential", "herding", "window-soft"} & names
    assert "dasm +10.33 (test +41.00)" in above
    gaps = [float(text) for text in re.findall(r" \+([\d.]+) \(test", above)]
    assert gaps == sorted(gaps, reverse=True) and len(gaps) == len(names) == 17
    assert between == "1 is not told from random , the interval includes zero: dm +0.33 (test +21.00)."
    last = "sre2l -7.33 (test +45.00), sre2l-joint -10.00 (test +11.00)."
    assert below == f"2 are below random , the whole interval below zero: {last}"
    assert len(folded) == 20
    assert "<summary>convnet: the intervals, and why an arm is below</summary>" in page
    assert folded[-3:] == [
        "dm: +0.33 (-4.84 to +5.50) on validation, +21.00 (+18.52 to +23.48) on test.",
        "sre2l: -7.33 (-10.20 to -4.46) on validation, +45.00 (+45.00 to +45.00) on test. "
        "Ten steps recover &lt;nothing&gt;.",
        "sre2l-joint: -10.00 (-10.00 to -10.00) on validation, +11.00 (+8.52 to +13.48) on test.",
    ]
    assert verdict(page, "mlp (unseen)")


WHY = 'w1: {note: "Why: narrow.", selection: {window: {width: 0.1}}}'


@pytest.mark.parametrize(("validation", "said"), [([0.2] * 3, True), ([0.5, 0.52, 0.55], False), ([0.9] * 3, False)])
@pytest.mark.usefixtures("undrawn")
def test_why_is_said_only_of_arms_below_random(tmp_path, validation, said):
    """And an outcome that no arm has is no sentence."""
    wide = WIDE.replace("w1: {selection: {window: {width: 0.1}}}", WHY)
    make_study(tmp_path, wide, states=1)
    set_accuracies(tmp_path, "random", [0.52, 0.5, 0.54], state=1)
    set_accuracies(tmp_path, "w1", validation, state=1)
    page, _ = written(tmp_path)
    sections = page.split("Do it again")[0]
    assert sections.count("Why: narrow.") == (4 if said else 0), "in the list and the table of both networks"
    lines, _ = verdict(page, "convnet")
    assert lines[0].startswith("convnet. 8 distilled arms"), "one objective"
    assert any("below random" in line for line in lines) == said


@pytest.mark.usefixtures("undrawn")
def test_arms_of_the_same_set_are_said_to_be_that(tmp_path):
    make_study(tmp_path, WIDE, states=1)
    for split in ({"test": [0.6, 0.61, 0.62]}, {"validation": [0.6, 0.61, 0.62]}):
        for arm in ("dasm", "w1"):
            set_accuracies(tmp_path, arm, state=1, **split)
    set_accuracies(tmp_path, "w2", test=[0.6, 0.61, 0.62], validation=[0.6, 0.61, 0.63], state=1)
    page, folder = written(tmp_path)
    assert cells(page, "convnet", "w1")[0][-1] == "same set"
    assert cells(page, "convnet", "w2")[0][-1] == "+0.00 +0.00 to +0.00", "not on validation"
    assert page.count("Same set: both arms hold it.") == 1
    assert words(folder.joinpath("table.md").read_text()).count("same set |") == 2
    paired = pd.read_csv(folder / "paired.csv").query("arm == 'dasm'")
    assert set(paired[paired["same"]]["minus"]) == {"w1"}


def test_the_finding_is_against_the_same_objective_joint(page):
    lede = re.search(r'<p class="lede">(.*?)</p>', page, re.DOTALL)
    assert lede and "dasm minus idc" in lede[1]


def test_markdown_ranks_every_arm_once_best_first(study):
    lines = words((study / "reports/zoo/table.md").read_text().replace("\n", "@")).split("@")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| \d", line)]
    arms = len(scope(study).arms)
    assert len(rows) == 2 * arms
    assert [int(row[0]) for row in rows[:arms]] == [*range(1, arms + 1)]
    assert rows[0][1:4] == ["sre2l", "Objectives inside DASM", "sre2l, real_batch 32, learning_rate 10"]
    assert rows[0][4:] == [
        "95.0 ± 0.0", "**-7.33** (-10.20 to -4.46)", "**+45.00** (+45.00 to +45.00)", "-4.00 (-8.30 to +0.30)"
    ]  # fmt: skip
    assert rows[1][1:4] == ["dasm", "Reference", "objective gradient, score loss, window budget"]
    assert len({len(row) for row in rows}) == 1


def test_many_arms_make_no_heavy_page(study, page):
    assert len(page) < 1_200_000
    drawings = re.findall(r"<svg viewBox[^>]*role.*?</svg>", page, re.DOTALL)
    large = [text for text in drawings if "<text" in text]
    assert len(large) == 2 + 1, "dots for two networks, difficulty of the reference"
    small = [re.search('aria-label="([^"]+)"', text)[1] for text in drawings if "<text" not in text]
    curved = [arm for arm in scope(study).arms if arm not in scope(study).coresets]
    assert small == [f"The objective over the iterations of {arm}" for arm in curved]
    shown = page.split('<section id="segments"')[1].split('<section id="difficulty"')[0].split("<details>")
    assert shown[0].count("<article>") == 2, "the reference is open"
    assert len(shown) - 1 == 9, "all groups but its own are folded"
    rows = [part.count('<div class="row">') for part in shown[:2]]
    assert rows == [2 * 6, 9 * 2 * 5], "all classes of the reference, five of nine other objectives"
    assert (study / "reports/zoo/difficulty.png").stat().st_size < 200_000
    assert (study / "reports/zoo/accuracy.png").stat().st_size < 1_000_000


def test_small_curves_have_a_legend_in_their_colours(page):
    cost = page.split('<section id="cost">')[1].split("</section>")[0]
    keys = re.findall(r'<span class="key"><svg.*?style="stroke:(var\(--s\d\))"/></svg> (.*?)</span>', cost)
    assert keys == [("var(--s0)", "segment 0 or prefix 1"), ("var(--s1)", "segment 1 or prefix 2")]
    drawn = set(re.findall(r'style="stroke:(var\(--s\d\))"><title>(.*?)</title>', cost))
    assert drawn == {(colour, name) for colour, text in keys for name in text.split(" or ")}


def test_the_histograms_say_what_their_ends_hold(page):
    assert "The bars at either end also hold what lies beyond the axis." in page


def test_the_dot_plot_has_every_arm_in_order_and_three_lines(study, page):
    ranked = [row for row in pd.read_csv(study / "reports/zoo/table.csv").itertuples() if row.network == "convnet"]
    expected = [row.arm for row in sorted(ranked, key=lambda row: -row.mean) if row.arm != "full"]
    name = "Accuracy of each arm at 4 images per class, on the convnet; the numbers are in Table 1"
    drawing = page.split(f'aria-label="{name}"')[1].split("</svg>")[0]
    texts = re.findall(r'<text[^>]* y="([\d.]+)"[^>]*>([^<]+)</text>', drawing)
    # The line of the reference has a name too, after those of the rows.
    at = {name: float(y) for y, name in reversed(texts)}
    assert sorted(expected, key=lambda arm: at[arm]) == expected
    for line in ("all real data", "random images"):
        assert line in drawing


@pytest.mark.usefixtures("undrawn")
def test_many_arms_at_several_sizes_keep_their_tables_folded(tmp_path):
    make_study(tmp_path, WIDE, states=2)
    page, folder = written(tmp_path)
    sizes = page.split('<section id="accuracy">')[1].split("</section>")[0]
    assert sizes.count("<details>") == 2
    assert '<table class="main">' in sizes.split("<details>")[1]
    assert '<table class="paired">' in sizes.split("<details>")[2]
    markdown = (folder / "table.md").read_text()
    assert "| rank | convnet |" in markdown
    assert "| convnet | 2 | 4 |" in markdown


@pytest.mark.usefixtures("undrawn")
def test_one_seed_says_that_it_cannot_tell(tmp_path):
    make_study(tmp_path, WIDE, states=1)
    for path in (tmp_path / "data/results").rglob("*.parquet"):
        rows = pd.read_parquet(path)
        rows[rows["seed"] == 0].to_parquet(path)
    page, folder = written(tmp_path)
    assert "One seed gives no interval, so that no arm can be told from random images." in words(page)
    assert "above random</b>" not in page and "the intervals</summary>" not in page
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page).lower()
    assert "nan" not in (folder / "table.md").read_text()


@pytest.mark.usefixtures("undrawn")
def test_without_random_images_nothing_is_said_of_them(tmp_path):
    make_study(tmp_path, WIDE.replace("[random, mosaic]", "[mosaic]"), states=1)
    page, folder = written(tmp_path)
    assert 'id="ranking"' in page
    assert 'class="finding"' not in page
    assert "- random" not in words(page + (folder / "table.md").read_text())
    assert set(pd.read_csv(folder / "paired.csv")["arm"]) == {"dasm"}


def test_states_may_skip_numbers(tmp_path):
    make_study(tmp_path, states=4, benchmarked=(2, 4))
    page, folder = written(tmp_path)
    table = pd.read_csv(folder / "table.csv")
    assert sorted(set(table["prefix_ipc"])) == [0, 4, 8]
    assert '<th class="n">4</th><th class="n">8</th></tr>' in page
    assert "Segment 3" in page
    assert json.loads((folder / "metrics.json").read_text())["mlp"]["idc"].keys() == {"ipc4", "ipc8"}


def test_a_single_size_is_dots_of_few_arms_too(tmp_path):
    make_study(tmp_path, states=2, benchmarked=(2,))
    page, folder = written(tmp_path)
    assert "best on top" in page
    assert 'id="ranking"' not in page
    assert "<b>Table 2.</b>" in page
    assert (folder / "accuracy.png").stat().st_size > 1000


@pytest.mark.usefixtures("undrawn")
def test_soft_labels_are_weighed_against_the_images(tmp_path):
    make_study(tmp_path, states=2)
    folder = tmp_path / "data/distilled/sequential/2"
    rows = pq.read_table(folder / "s0.parquet").num_rows
    # Of the first segment a list per tile, four tiles of three classes; of the second one flat list of half numbers.
    write_soft_labels(
        folder / "s0.parquet", pa.array(np.zeros((rows, 4, 3)).tolist(), pa.list_(pa.list_(pa.float32())))
    )
    write_soft_labels(folder / "s1.parquet", pa.array([np.zeros(3, np.float16)] * rows, pa.list_(pa.float16())))
    images = sum(len(i["bytes"]) for s in "01" for i in pq.read_table(folder / f"s{s}.parquet")["image"].to_pylist())
    labels = rows * 4 * 3 * 4 + rows * 3 * 2
    assert artefacts.read_storage(folder) == (images, labels)
    page, _ = written(tmp_path)
    said = [words(text) for text in re.findall(r'<p class="storage">(.*?)</p>', page)]
    size = f"{images:,}".replace(",", " ")
    assert [text.replace("\N{MULTIPLICATION SIGN}", "x") for text in said] == [
        f"sequential , soft labels: {labels} bytes beside images: {size} bytes (x{labels / images:.2f})."
    ]
