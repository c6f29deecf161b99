"""The page over all reports: what it reads of hand-made ones, and that the one that is here is up to date."""

import re
from itertools import pairwise

import pytest

from dasm.errors import ConfigError
from pipeline import site
from pipeline.reporting.overview import asks, entries
from tests.graph import ROOT

TABLE = """\
network,arm,prefix_ipc,mean,std,n,validation_mean
convnet,dasm,2,80.0,1.0,3,79
convnet,dasm,5,91.0,0.5,3,90
convnet,idc,2,99.0,1.0,3,99
convnet,idc,5,92.0,0.25,3,89
convnet,full,0,97.0,0.0,3,99
mlp,idc,5,12.0,0.25,3,99
"""
ROOTS = """\
network,arm,prefix_ipc,n,validation_mean,validation_std,test_mean,test_std
convnet,dasm,5,4,80,1,81.0,2.0
convnet,idc,5,4,80,1,82.0,3.0
convnet,full,0,4,96,1,96.5,0.1
"""


def params(name, data="{name: digits}"):
    return f"# What of `{name}` <b>?\n#\n# More.\nstudy: {name}\ndata: {data}\n"


def report(root, name, table=TABLE):
    folder = root / "reports" / name
    folder.mkdir(parents=True)
    (folder / "index.html").touch()
    (folder / "accuracy.png").touch()
    (folder / "table.csv").write_text(table)
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Two studies with a report, one without, and notes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(params("mine"))
    for name, data in {"early": "{name: parquet, root: data/cifar10}", "none": "{name: digits}"}.items():
        (tmp_path / "studies" / name).mkdir(parents=True)
        (tmp_path / "studies" / name / "params.yaml").write_text(params(name, data))
    report(tmp_path, "early")
    report(tmp_path, "mine")
    (tmp_path / "reports/LOG.md").touch()
    return tmp_path


def test_every_report_is_an_entry_the_one_in_force_first(here):
    mine, early = entries(here)
    assert (mine.name, early.name, early.data) == ("mine", "early", "cifar10")
    assert (mine.network, mine.sizes, mine.arms, mine.roots) == ("convnet", (2, 5), 2, 1)
    assert mine.asks == ("What of ", "mine", " <b>?")


def test_validation_images_say_who_is_preferred_at_the_largest_size(here):
    mine = entries(here)[0]
    assert (mine.winners, mine.test, mine.full) == (("dasm",), 91.0, 97.0)


def test_root_seeds_come_before_one_report_and_ties_are_named(here):
    (here / "reports/mine/roots.csv").write_text(ROOTS)
    mine = entries(here)[0]
    assert (mine.roots, mine.winners, mine.test, mine.full) == (4, ("dasm", "idc"), 81.0, 96.5)


@pytest.mark.parametrize(
    ("about", "name"),
    [
        ("{name: svhn}", "svhn"),
        ("{name: image_folder, root: data/pictures}", "pictures"),
        (
            "{name: long_tailed, of: {name: noisy, of: {name: parquet, root: data/cifar10}}}",
            "long_tailed noisy cifar10",
        ),
    ],
)
def test_a_data_set_is_called_by_its_name_or_folder(here, about, name):
    (here / "params.yaml").write_text(params("mine", about))
    assert entries(here)[0].data == name


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# One\n# two. Three?\nstudy: x\n# Four.\n", "One two. Three?"),
        ("# One.\n# Put train.parquet and test.parquet into data/cifar10.\nstudy: x\n", "One."),
        ("# Put it there, or point data.root elsewhere. One.\nstudy: x\n", "One."),
        ("# One.\n#\n# Two.\n", "One."),
        ("\n# One.\n", ""),
        ("study: x\n", ""),
        ("", ""),
    ],
)
def test_the_first_comments_say_what_a_study_asks(text, said):
    assert asks(text) == said


def test_the_page_has_a_row_and_a_card_for_each_and_escapes_their_words(here):
    site.main()
    page = (here / "reports/index.html").read_text()
    assert page.count('href="mine/index.html"') == page.count('href="early/index.html"') == 4
    assert "<code>mine</code> &lt;b&gt;?" in page and "<b>?" not in page
    assert 'src="mine/accuracy.png"' in page and "roots.png" not in page
    assert "2 studies on 2 data sets" in page


def test_files_that_are_not_there_are_not_linked(here):
    site.main()
    assert "table.tex" not in (here / "reports/index.html").read_text()
    (here / "reports/mine/table.tex").touch()
    site.main()
    assert (here / "reports/index.html").read_text().count("table.tex") == 1


def test_no_report_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(params("mine"))
    with pytest.raises(ConfigError, match=r"^site: reports must hold one report at least"):
        site.main()


def test_a_report_without_its_parameters_is_named(here):
    report(here, "lost")
    with pytest.raises(ConfigError, match=r"studies/lost/params.yaml: no such file"):
        site.main()


def test_the_page_that_is_committed_is_that_of_the_reports():
    found = entries(ROOT)
    assert (ROOT / "reports/index.html").read_text() == site.page(found), "run `python -m pipeline site`"
    assert all(entry.asks[0] for entry in found), "every study says what it asks"
    changes = sum(one.data != other.data for one, other in pairwise(found))
    assert changes == len({entry.data for entry in found}) - 1, "studies of a data set follow each other"


def test_links_of_the_page_lead_somewhere():
    page = ROOT / "reports/index.html"
    linked = re.findall(r'(?:href|src)="([^"]+)"', page.read_text())
    assert len(linked) > 50 and all((page.parent / link).is_file() for link in linked)
