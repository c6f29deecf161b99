"""Tables for a paper: hand-made ones, and those of every report that is here."""

import re
from pathlib import Path

import pandas as pd
import pytest

from dasm.errors import ConfigError
from pipeline import latex, params
from pipeline.reporting.terms import terms
from tests.graph import ROOT

TABLE = """\
network,arm,prefix_ipc,mean,std,n,validation_mean
convnet,dasm,2,80.04,1.0,3,79
convnet,dasm,5,91.26,0.5,3,90
convnet,easy_first,2,80.04,1.0,3,79
convnet,easy_first,5,90.0,0.25,3,90
convnet,full,0,97.0,0.0,3,96
mlp,dasm,2,70.0,1.0,3,69
mlp,dasm,5,71.0,1.0,3,70
mlp,easy_first,5,72.0,1.0,3,71
mlp,full,0,95.0,,1,94
"""
ROOTS = """\
network,arm,prefix_ipc,n,validation_mean,validation_std,test_mean,test_std
convnet,dasm,5,4,90,1,91.0,2.0
convnet,random,5,4,80,1,88.0,3.0
convnet,full,0,4,96,1,97.0,0.1
"""
GAPS = """\
network,prefix_ipc,split,arm,minus,mean,lower,upper,n,same
convnet,5,validation,dasm,random,9,8,10,4,False
convnet,5,test,dasm,random,3.04,-1.0,7.0,4,False
convnet,5,test,dasm,full,-6.0,-7.0,-5.0,4,False
convnet,5,test,random,full,-9.0,-9.5,-8.5,4,False
"""


@pytest.fixture
def report(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "reports/mine"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text(TABLE)
    (tmp_path / "params.yaml").write_text(
        "study: mine\nbenchmark: {networks: [{name: convnet}], protocol: {labels: teacher}}\n"
    )
    return folder


def cells(text: str) -> list[list[str]]:
    """The rows of all tables, heads included."""
    return [[cell.strip() for cell in line[:-2].split("&")] for line in text.splitlines() if line.endswith(r"\\")]


def test_accuracies_are_a_row_per_arm_and_a_column_per_size(report):
    latex.main()
    assert cells((report / "table.tex").read_text()) == [
        ["network", "arm", "2", "5"],
        ["convnet", "dasm", r"80.0 $\pm$ 1.0", r"\textbf{91.3} $\pm$ 0.5"],
        ["", r"easy\_first", r"80.0 $\pm$ 1.0", r"90.0 $\pm$ 0.2"],
        ["", "all real data", r"97.0 $\pm$ 0.0", r"97.0 $\pm$ 0.0"],
        ["mlp (unseen)", "dasm", r"\textbf{70.0} $\pm$ 1.0", r"71.0 $\pm$ 1.0"],
        ["", r"easy\_first", "--", r"\textbf{72.0} $\pm$ 1.0"],
        ["", "all real data", "95.0", "95.0"],
    ]


def test_a_caption_says_what_is_unusual(report):
    latex.main("mine")
    (caption,) = re.findall(r"\\caption\{(.*)\}", (report / "table.tex").read_text())
    assert "mean $\\pm$ std over 3 trainings" in caption and "labelled by one convnet" in caption


def test_several_root_seeds_add_their_means_and_differences(report):
    (report / "roots.csv").write_text(ROOTS)
    (report / "roots-paired.csv").write_text(GAPS)
    latex.main("mine")
    text = (report / "table.tex").read_text()
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 3
    assert cells(text)[7:] == [
        ["network", "arm", "5"],
        ["convnet", "dasm", r"\textbf{91.0} $\pm$ 2.0"],
        ["", "random", r"88.0 $\pm$ 3.0"],
        ["", "all real data", r"97.0 $\pm$ 0.1"],
        ["network", "arm", "5"],
        ["convnet", "random", "$+3.0$ ($-1.0$ to $+7.0$)"],
        ["", "all real data", r"$\mathbf{-6.0}$ ($-7.0$ to $-5.0$)"],
    ]
    assert "4 root seeds" in text


def test_arms_with_one_set_have_no_difference(report):
    (report / "roots.csv").write_text(ROOTS)
    (report / "roots-paired.csv").write_text(GAPS.replace("3.04,-1.0,7.0,4,False", "0,0,0,4,True"))
    latex.main("mine")
    assert ["convnet", "random", "same set"] in cells((report / "table.tex").read_text())


@pytest.mark.parametrize(
    ("study", "line"),
    [
        ("other", r"^latex: must be given a study that has a report \(`dvc repro` writes one\), got 'other'$"),
        ("../mine", r"^latex: a study's name must be at most 64 letters.* got '\.\./mine'$"),
    ],
)
@pytest.mark.usefixtures("report")
def test_what_is_no_report_is_refused(study, line):
    with pytest.raises(ConfigError, match=line):
        latex.main(study)


def test_a_table_that_is_none_is_named(report):
    (report / "table.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match=r"^reports/mine/table.csv: must be the table.csv of a report"):
        latex.main()


FOLDERS = sorted(path.parent for path in (ROOT / "reports").glob("*/table.csv"))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_tables_that_are_committed_are_those_of_the_numbers(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    said = terms(params.read(params.of_study(folder.name)))
    assert (folder / "table.tex").read_text() == latex.tables(folder, said), "run `python -m pipeline latex`"


def test_the_digits_say_what_their_markdown_says():
    """Two ways to the same table: bold by the sets' identity there, by accuracies that tie here."""
    folder = ROOT / "reports/digits"
    markdown = re.findall(r"^\| ([\w-]+) \|(.*)\|$", (folder / "table.md").read_text(), re.MULTILINE)
    rows = {arm: [] for arm, _ in markdown if arm not in ("convnet", "mlp")}
    for arm, values in markdown:
        if arm in rows:
            rows[arm].append([cell.replace("▾", "").strip() for cell in values.split("|")])
    sizes = pd.read_csv(folder / "table.csv").query("prefix_ipc > 0")["prefix_ipc"].nunique()
    ours = {arm: [] for arm in rows}
    for _, arm, *values in cells(latex.tables(folder))[: 1 + 2 * (len(rows) + 1)]:
        if arm in ours:
            plain = [re.sub(r"\\textbf\{([\d.]+)\}", r"**\1**", value).replace(r"$\pm$", "±") for value in values]
            ours[arm].append(plain)
    assert ours == rows and sizes == len(ours["dasm"][0])
