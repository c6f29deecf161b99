"""The README's numbers are those of the report, its commands exist and its code runs."""

import re

import pandas as pd
import pytest

from pipeline.__main__ import COMMANDS
from tests.graph import ROOT

README = (ROOT / "README.md").read_text()


def test_table_one_is_that_of_the_digits_report():
    for line in (ROOT / "reports/digits/table.md").read_text().splitlines():
        assert line in README


def gap(study, minus, network, size):
    """A difference over root seeds as the README writes it."""
    table = pd.read_csv(ROOT / f"reports/{study}/roots-paired.csv").set_index(["arm", "minus", "network", "prefix_ipc"])
    row = table[table["split"] == "test"].loc["dasm", minus, network, size]
    mean, lower, upper = (f"{row[name]:+.1f}".replace("-", "\N{MINUS SIGN}") for name in ("mean", "lower", "upper"))
    sure = "**" if row["lower"] > 0 or row["upper"] < 0 else ""
    return f"{sure}{mean}{sure} ({lower} to {upper})"


def test_differences_over_root_seeds_are_those_of_the_digits_roots():
    rows = [line.split("|")[1:-1] for line in README.splitlines() if line.startswith("| ") and line.count("(`") == 1]
    rows = [[cell.strip() for cell in row] for row in rows if "to +" in row[-1]]
    assert len(rows) == 6
    for what, network, *found in rows:
        (minus,) = re.findall(r"\(`(\w+)`\)", what)
        name = "mlp" if "unseen" in network else "convnet"
        assert found == [gap("digits", minus, name, size) for size in (5, 10)], what


def test_what_it_says_of_mnist_is_in_its_roots():
    text = " ".join(README.split())
    for minus, network, size in (
        ("sequential", "convnet", 10),
        ("idc", "convnet", 10),
        ("idc", "mlp", 5),
        ("idc", "mlp", 10),
    ):
        mean, rest = gap("mnist", minus, network, size).replace("**", "").split(" ", 1)
        assert f"{mean}, {rest.strip('()')}" in text


def test_what_it_says_of_the_plain_filter_is_in_the_roots_of_the_oracle():
    text = " ".join(README.split())
    ahead = gap("oracle", "joint-filter-30", "convnet", 10)
    assert ahead.startswith("**\N{MINUS SIGN}0.3**") and "ahead of DASM on the ConvNet by 0.3 points" in text
    assert "**" not in gap("oracle", "joint-filter-30", "mlp", 10) and "level on the MLP" in text


def test_every_file_it_names_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_command_it_names_exists():
    for command in re.findall(r"python -m pipeline (\w+)", README):
        assert command in COMMANDS or (ROOT / f"pipeline/stages/{command}.py").exists(), command
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert target in targets


@pytest.mark.deep
@pytest.mark.slow
def test_the_library_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["0", "1"]
    assert "(10, 1, 8, 8)" in lines[0]
    accuracies = [int(percent) for percent in re.findall(r"\d+", lines[2])]
    assert len(accuracies) == 2 and min(accuracies) > 50, "chance is 10"
