"""Networks that a study names against the size of its images, wherever it names them."""

from pathlib import Path

import pytest

from dasm.errors import ConfigError
from pipeline import params
from pipeline.work.fitting import check_networks, fitting
from tests.graph import ROOT

SHAPE, CLASSES = (1, 8, 8), 10
LENET = {"name": "lenet"}  # sides of twelve pixels at least


@pytest.mark.parametrize(
    ("study", "where"),
    [
        ({"evaluator": {"trainer": {"network": LENET}}}, "evaluator.trainer.network"),
        ({"method": {"x": {"matching": {"trainer": {"network": LENET}}}}}, "method.x.matching.trainer.network"),
        ({"benchmark": {"networks": [{"name": "mlp"}, LENET]}}, r"benchmark.networks\[1\]"),
    ],
)
def test_one_that_cannot_see_the_images_is_named_by_its_place(study, where):
    with pytest.raises(ConfigError, match=f"^{where}: sides must be >= 12 for lenet, got \\(8, 8\\)$"):
        check_networks(study, SHAPE, CLASSES)
    check_networks(study, (1, 12, 12), CLASSES)


def test_numbers_of_networks_and_departures_without_a_name_are_none():
    check_networks(
        {"evaluator": {"networks": 3}, "method": {"x": {"trainer": {"network": {"width": 8}}}}}, SHAPE, CLASSES
    )


def test_every_study_has_networks_that_are_found():
    """The default study says how large its images are, so here all of it is checked."""
    study = params.read(Path(ROOT / "params.yaml"))
    check_networks(study, SHAPE, CLASSES)
    study["benchmark"]["networks"].append(LENET)
    with pytest.raises(ConfigError, match=r"benchmark.networks\[2\]"):
        check_networks(study, SHAPE, CLASSES)


def test_it_is_the_network_of_these_options():
    assert fitting({"name": "convnet", "width": 7, "depth": 1}, "here", SHAPE, CLASSES).width == 7
