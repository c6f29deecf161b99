"""A study from several root seeds as one table: hand-made tables, and such as are none."""

import math

import pandas as pd
import pytest

from dasm.errors import ConfigError
from pipeline import roots
from pipeline.reporting.holdings import MEASURES

# The 97.5 % quantile of Student's t with 2 degrees of freedom, from a printed table.
T2 = 4.302653
TEST = {"dasm": (90.0, 92.0, 91.0), "idc": (88.0, 91.0, 88.0), "random": (70.0, 70.0, 73.0)}


@pytest.fixture
def tables(tmp_path):
    """Three reports' tables, in an order of arms of their own; accuracies on validation are a point higher."""
    paths = []
    for number in range(3):
        rows = [["convnet", arm, 5, test[number], 9.9, 3, test[number] + 1] for arm, test in TEST.items()]
        rows = rows[:1] + rows[1:][:: -1 if number else 1]
        rows.append(["convnet", "full", 0, 98.0, 0.1, 3, 99.0])
        paths.append(tmp_path / f"{number}.csv")
        columns = ["network", "arm", "prefix_ipc", "mean", "std", "n", "validation_mean"]
        pd.DataFrame(rows, columns=columns).to_csv(paths[-1], index=False)
    return paths


def edit(path, change):
    table = pd.read_csv(path)
    change(table).to_csv(path, index=False)


def test_spread_and_intervals_are_over_root_seeds(tables, tmp_path):
    roots.main(str(tmp_path), *map(str, tables))
    table = pd.read_csv(tmp_path / "roots.csv").set_index("arm")
    assert list(table.index) == ["dasm", "idc", "random", "full"]
    assert table.loc["idc", "test_mean"] == pytest.approx(89.0)
    assert table.loc["idc", "test_std"] == pytest.approx(math.sqrt(3), abs=1e-4)
    assert table.loc["idc", "validation_mean"] == pytest.approx(90.0)
    assert set(table["n"]) == {3}
    paired = pd.read_csv(tmp_path / "roots-paired.csv").set_index(["split", "arm", "minus"])
    assert len(paired) == 2 * (3 + 3), "three pairs of arms, and each arm minus all real data"
    gap = paired.loc["test", "dasm", "idc"]  # 2, 1 and 3 points
    half = T2 * 1 / math.sqrt(3)
    assert list(gap[["mean", "lower", "upper", "n"]]) == pytest.approx([2, 2 - half, 2 + half, 3], abs=1e-4)
    lines = (tmp_path / "roots.md").read_text().splitlines()
    gap = "+2.00 (\N{MINUS SIGN}0.48 to +4.48)"
    assert f"| idc | 90.0 ± 1.7 | 89.0 ± 1.7 | {gap} | {gap} |" in lines
    assert any(line.startswith("| random |") and "**+20.00**" in line for line in lines)
    half = T2 * 1 / math.sqrt(3)
    assert list(paired.loc["test", "dasm", "full"][["mean", "lower", "upper"]]) == pytest.approx(
        [-7, -7 - half, -7 + half], abs=1e-4
    )
    gap = "**-7.00** (-9.48 to -4.52)".replace("-", "\N{MINUS SIGN}")
    assert f"| all real data | 99.0 ± 0.0 | 98.0 ± 0.0 | {gap} | {gap} |" in lines
    heading = "| validation | test | dasm minus this arm, validation | dasm minus this arm, test |"
    assert any(line.endswith(heading) for line in lines)
    assert "same set" not in "".join(lines).lower()
    assert "over 3 root seeds" in lines[0]
    assert (tmp_path / "roots.png").read_bytes().startswith(b"\x89PNG")


def test_arms_of_the_same_set_are_said_to_be_that(tables, tmp_path):
    for path in tables:
        table, means = pd.read_csv(path), ["mean", "validation_mean"]
        table.loc[table["arm"] == "idc", means] = table.loc[0, means].tolist()
        table.to_csv(path, index=False)
    roots.main(str(tmp_path), *map(str, tables))
    text = (tmp_path / "roots.md").read_text()
    assert "| idc | 92.0 ± 1.0 | 91.0 ± 1.0 | same set | same set |" in text
    assert "Same set: both arms hold it, at every root seed." in text


def test_only_arms_of_every_table_are_compared(tables, tmp_path, capsys):
    edit(tables[1], lambda table: table[table["arm"] != "idc"])
    roots.main(str(tmp_path), *map(str, tables))
    assert "idc" not in (tmp_path / "roots.md").read_text()
    assert "idc" not in (tmp_path / "roots-paired.csv").read_text()
    assert capsys.readouterr().out.startswith("3 root seeds, 3 arms: ")


BAD = {
    "at least two root seeds, got 1": lambda tables: tables.pop() and tables.pop(),
    "2.csv: must be of a root seed of its own, got 'the results of .*0.csv'": lambda tables: tables[2].write_bytes(
        tables[0].read_bytes()
    ),
    "2.csv: must be of a root seed of its own": lambda tables: tables[2].write_text(
        "\n".join(line for line in tables[0].read_text().splitlines() if ",idc," not in line)
    ),
    "must have arms in common, got": lambda tables: edit(
        tables[1], lambda table: table.assign(arm=table["arm"].replace({"dasm": "x", "idc": "y", "random": "z"}))
    ),
    r"1.csv: must be the table.csv of a report, with .*, got \['a'\]": lambda tables: tables[1].write_text("a\n1\n"),
    r"1.csv: must be the table.csv of a report \(.*'high'": lambda tables: edit(
        tables[1], lambda table: table.astype({"mean": object}).replace({"mean": {92.0: "high"}})
    ),
    r"1.csv: must be the table.csv of a report \(.*No such file": lambda tables: tables[1].unlink(),
    r"1.csv: must have one row per network, arm, prefix_ipc, got \[\('convnet', 'dasm', 5\)\]": lambda tables: edit(
        tables[1], lambda table: pd.concat([table, table.head(1).assign(mean=1.0)])
    ),
    "must have arms in common": lambda tables: edit(
        tables[1], lambda table: table.assign(network=table["network"] + "2")
    ),
}


@pytest.mark.parametrize("said", BAD)
def test_what_is_no_report_of_another_root_seed_is_refused(tables, tmp_path, said):
    BAD[said](tables)
    with pytest.raises(ConfigError, match=said):
        roots.main(str(tmp_path), *map(str, tables))


def test_root_seeds_that_are_known_to_differ_may_have_the_same_results(tables, tmp_path):
    """Where every arm gets everything right; `repeat` knows which root seed is whose."""
    tables[1].write_bytes(tables[0].read_bytes())
    with pytest.raises(ConfigError, match="must be of a root seed of its own"):
        roots.main(str(tmp_path), *map(str, tables))
    roots.main(str(tmp_path), *map(str, tables), told_apart=True)
    assert (tmp_path / "roots.md").exists()


def test_the_folder_has_to_be_there(tables, tmp_path):
    with pytest.raises(ConfigError, match="the folder to write to must exist"):
        roots.main(str(tmp_path / "none"), *map(str, tables))


#: By arm, a value per root seed at 5 images per class: mean rank of the nearest real images.
NEAREST = {"dasm": (0.5, 0.6, 0.7), "idc": (0.4, 0.5, 0.5), "random": (0.5, 0.4, 0.6)}


@pytest.fixture
def held_tables(tables, tmp_path):
    """The tables and their holdings, named as `repeat` names them; at 2 images per class a set has no overlap."""
    paths = []
    for number, path in enumerate(tables):
        paths.append(path.rename(tmp_path / f"table-{number}.csv"))
        rows = [
            {
                **dict.fromkeys(MEASURES, 50.0),
                "arm": arm,
                "prefix_ipc": size,
                "images": size,
                "nearest": by_root[number],
            }
            for arm, by_root in NEAREST.items()
            for size in (2, 5)
        ]
        holdings = pd.DataFrame(rows)
        holdings.loc[(holdings["prefix_ipc"] == 2) | (holdings["arm"] == "idc"), "overlap"] = math.nan
        holdings.to_csv(tmp_path / f"holdings-{number}.csv", index=False)
    return paths


def test_what_sets_hold_is_summarised_over_root_seeds(held_tables, tmp_path):
    roots.main(str(tmp_path), *map(str, held_tables))
    found = pd.read_csv(tmp_path / "roots-holdings.csv").set_index(["prefix_ipc", "measure", "arm"])
    assert found.loc[5, "nearest", "dasm"][["n", "mean", "std"]].tolist() == pytest.approx([3, 0.6, 0.1])
    assert (5, "overlap", "idc") not in found.index and (2, "overlap", "dasm") not in found.index
    gaps = pd.read_csv(tmp_path / "roots-holdings-paired.csv").set_index(["prefix_ipc", "measure", "arm", "minus"])
    gap = gaps.loc[5, "nearest", "dasm", "idc"]  # 0.1, 0.1 and 0.2
    half = T2 * 0.1 / math.sqrt(3) / math.sqrt(3)
    assert gap[["mean", "lower", "upper"]].tolist() == pytest.approx(
        [0.4 / 3, 0.4 / 3 - half, 0.4 / 3 + half], abs=1e-4
    )
    assert gap["n"] == 3 and (5, "nearest", "idc", "random") in gaps.index
    assert gaps.loc[5, "diversity", "dasm", "idc"][["mean", "lower", "upper"]].tolist() == [0, 0, 0]
    lines = (tmp_path / "roots.md").read_text().splitlines()
    assert "| dasm | 50.0 | 50.0 | 50.0 | 50.0 | 0.60 | 50.00 | 50.00 | 50.0 | 50.0 | 50.0 | 50.0 |" in lines
    heading = lines.index(next(line for line in lines if line.startswith("| | cover easy")))
    assert "| overlap | moved | right easy |" in lines[heading]
    assert {line.count("|") for line in lines[heading : heading + 3]} == {13}
    # 0.13 is twice the half width; what random images differ by, 0, 0.2 and 0.1, is not its own.
    assert any(line.startswith("| idc |") and "| 0.47 |" in line and "| \N{EN DASH} |" in line for line in lines)
    assert any("**What the sets hold**, 5 images per class" in line for line in lines)


def test_a_difference_in_what_sets_hold_is_bold_where_the_interval_excludes_zero(held_tables, tmp_path):
    for path in held_tables:
        holdings = path.with_name(path.name.replace("table", "holdings"))
        edit(holdings, lambda table: table.assign(nearest=table["nearest"] - 0.4 * (table["arm"] == "idc")))
    roots.main(str(tmp_path), *map(str, held_tables))
    (line,) = [line for line in (tmp_path / "roots.md").read_text().splitlines() if line.startswith("| idc | 50.0 ")]
    assert "| **0.07** |" in line and line.count("**") == 2


def test_reports_that_do_not_say_how_far_pixels_went_are_summarised_without(held_tables, tmp_path):
    """Of the three, one is from before the report said it."""
    path = tmp_path / "holdings-1.csv"
    pd.read_csv(path).drop(columns="moved").to_csv(path, index=False)
    roots.main(str(tmp_path), *map(str, held_tables))
    lines = (tmp_path / "roots.md").read_text().splitlines()
    heading = lines.index(next(line for line in lines if line.startswith("| | cover easy")))
    assert "moved" not in lines[heading] and {line.count("|") for line in lines[heading : heading + 3]} == {12}
    assert "| dasm | 50.0 | 50.0 | 50.0 | 50.0 | 0.60 | 50.00 | 50.00 | 50.0 | 50.0 | 50.0 |" in lines


def test_tables_that_came_without_holdings_are_summarised_without(held_tables, tmp_path):
    (tmp_path / "holdings-1.csv").unlink()
    roots.main(str(tmp_path), *map(str, held_tables))
    assert not (tmp_path / "roots-holdings.csv").exists()
    assert "What the sets hold" not in (tmp_path / "roots.md").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n1\n", "holdings-1.csv: must be the holdings.csv of a report, with arm, prefix_ipc, coverage_easy"),
        ("arm,prefix_ipc\ndasm,few\n", r"holdings-1.csv: must be the holdings.csv of a report \(.*'few'"),
    ],
)
def test_what_are_no_holdings_is_refused(held_tables, tmp_path, text, said):
    (tmp_path / "holdings-1.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        roots.main(str(tmp_path), *map(str, held_tables))


def test_a_set_that_is_held_twice_is_refused(held_tables, tmp_path):
    edit(tmp_path / "holdings-1.csv", lambda table: pd.concat([table, table.head(1)]))
    with pytest.raises(ConfigError, match=r"must have one row per arm, prefix_ipc, got \[\('dasm', 2\)\]"):
        roots.main(str(tmp_path), *map(str, held_tables))
