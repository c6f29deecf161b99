"""How many images of a class every arm starts from, against those that there are."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from dasm.errors import ConfigError
from pipeline import layout, params
from pipeline.drivers import walk
from pipeline.graph import listing
from pipeline.graph.needs import needs
from pipeline.stages import check
from pipeline.study import parse
from pipeline.work import enough, fitting
from tests.graph import ROOT

STUDY = params.read(ROOT / "studies/pictures/params.yaml")
DIGITS = params.read(ROOT / "params.yaml")


def wanted(study):
    return {need["who"]: need["images"] for need in needs(parse(study), study)}


def test_every_kind_of_arm_starts_from_what_it_makes():
    """Segments of two images of 2 x 2 tiles, or all six at once; coresets are picked as a whole."""
    assert wanted(STUDY) == {"arm dasm": 2 * 4, "control idc": 6 * 4, "coreset random": 6}
    assert {need["why"] for need in needs(parse(STUDY), STUDY)} == {
        "2 x 2 x 2 for a segment",
        "6 x 2 x 2 for the whole set at once",
        "6 for the whole set",
    }


def test_departures_of_an_arm_count_and_mosaics_go_by_the_factor_of_the_study():
    study = copy.deepcopy(DIGITS)
    assert wanted(study) == {"arm dasm": 5, "control sequential": 5, "control idc": 10} | {
        f"coreset {name}": 10 for name in ("random", "mosaic")
    }
    study["matching"]["factor"] = 2
    study["method"]["idc"]["matching"] = {"factor": 3}
    study["method"]["dasm"] = {"matching": {"factor": 1}}
    study["segment"]["s1"]["ipc"] = 7
    assert wanted(study) == {"arm dasm": 7, "control sequential": 7 * 4, "control idc": 14 * 9} | {
        "coreset random": 14,
        "coreset mosaic": 14 * 4,
    }


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Images that are prepared: of class a three for training and one each for choices and the benchmark, of b two."""
    monkeypatch.chdir(tmp_path)
    layout.REAL.mkdir(parents=True)
    enough.NEEDS.parent.mkdir()
    (layout.REAL / "meta.json").write_text(json.dumps({"class_names": ["a", "b"]}))
    for split, labels in {"train": [0, 1, 0, 1, 0], "validation": [0, 1], "test": [0, 1]}.items():
        np.save(layout.REAL / f"{split}.labels.npy", np.array(labels))
    return tmp_path


def need(*images, network="mlp"):
    enough.NEEDS.write_text(json.dumps([{"who": f"arm {n}", "images": n, "why": "because"} for n in images]))
    fitting.NETWORKS.write_text(json.dumps([{"where": "here", "options": {"name": network}}]))


@pytest.mark.usefixtures("recorded")
def test_prepared_images_are_compared_with_the_arm_that_wants_most():
    need(1, 2)
    enough.check_prepared(write())
    need(1, 3, 2)
    rule = (
        r"^data: class 1 \(b\) must have at least 3 training images for arm 3 \(because\), got 2 of its 4 pictures \("
    )
    with pytest.raises(ConfigError, match=rule):
        enough.check_prepared(write())


@pytest.fixture
def recorded(project, monkeypatch):
    """Digits that `prepare` has read, as far as the ledger knows: a study without files of its own."""
    monkeypatch.setattr("pipeline.stages.check.blueprint.write", lambda _: {})
    monkeypatch.setattr("pipeline.stages.check.said", lambda _: "")  # of a study that has arms
    for split in ("train", "validation", "test"):
        labels = np.load(f"data/real/{split}.labels.npy")
        np.save(f"data/real/{split}.images.npy", np.zeros((len(labels), 1, 8, 8), np.uint8))
    meta = {"class_names": ["a", "b"], "mean": [0.5], "std": [0.5]}
    Path("data/real/meta.json").write_text(json.dumps(meta))
    layout.LEDGER.mkdir()
    (layout.LEDGER / "prepare.json").write_text(json.dumps({"listing": listing.listing(write())}))
    return project


def write(seed=0):
    study = {"data": {"name": "digits"}, "seed": seed, "watch": "params.yaml", "coresets": []}
    Path("params.yaml").write_text(json.dumps(study))
    return study


@pytest.mark.usefixtures("recorded")
def test_a_study_that_grows_beyond_its_images_is_refused_before_anything_runs():
    need(1, 2)
    check.main()
    need(1, 3)
    with pytest.raises(ConfigError, match=r"^data: class 1 \(b\) must have at least 3 training images"):
        check.main()
    write(seed=1)  # other images may fall to training: `prepare` looks
    check.main()
    write()
    Path("data/real/meta.json").unlink()
    check.main()


@pytest.mark.usefixtures("recorded")
def test_a_network_that_cannot_see_the_images_is_refused_before_anything_runs():
    need(1, network="lenet")
    with pytest.raises(ConfigError, match=r"^here: sides must be >= 12 for lenet, got \(8, 8\)$"):
        check.main()


@pytest.mark.usefixtures("recorded")
def test_a_walk_looks_too(monkeypatch):
    """Without DVC, too, a study that its images are not enough for is refused before hours are spent on it."""
    monkeypatch.setattr("pipeline.drivers.walk.walk", lambda *_, **__: pytest.fail("it begins"))
    need(1, 3)
    with pytest.raises(ConfigError, match=r"^data: class 1 \(b\) must have at least 3 training images"):
        walk.main()
