"""Networks that a study names against the size of its images, wherever and however it names them."""

import copy
import json

import pytest

from dasm.errors import ConfigError
from dasm.networks import Classifier as Body
from pipeline import params
from pipeline.graph.networks import networks
from pipeline.study import parse
from pipeline.work.fitting import NETWORKS, check_networks, fitting
from tests.graph import ROOT

SHAPE, CLASSES = (1, 8, 8), 10
LENET = {"name": "lenet"}  # sides of twelve pixels at least
STUDY = params.read(ROOT / "params.yaml")
ZOO = params.read(ROOT / "studies/zoo/params.yaml")


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(study):
    NETWORKS.parent.mkdir(parents=True, exist_ok=True)
    NETWORKS.write_text(json.dumps(networks(parse(study), study)))


def changed(where, value, study=STUDY):
    """The study with something else at a dotted path."""
    study = copy.deepcopy(study)
    *path, last = where.split(".")
    block = study
    for key in path:
        block = block.setdefault(key, {})
    block[last] = value
    return study


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("evaluator.trainer.network", LENET),
        ("matching.trainer.network", LENET),
        ("method.idc.matching.trainer.network", LENET),
        ("method.dasm.evaluator.trainer.network", LENET),
        ("benchmark.networks", [{"name": "mlp"}, LENET]),
    ],
)
def test_one_that_cannot_see_the_images_is_named_by_its_place(place, value):
    write(changed(place, value))
    where = place if value is LENET else rf"{place}\[1\]"
    with pytest.raises(ConfigError, match=f"^{where}: sides must be >= 12 for lenet, got \\(8, 8\\)$"):
        check_networks(SHAPE, CLASSES)
    check_networks((1, 12, 12), CLASSES)


def test_one_that_an_arm_gets_by_a_single_option_is_seen():
    """The shared block names the network; the arm says how deep its own is."""
    write(changed("method.dasm.matching.trainer.network.depth", 9))
    with pytest.raises(ConfigError, match=r"^method\.dasm\.matching\.trainer\.network: "):
        check_networks(SHAPE, CLASSES)


@pytest.mark.parametrize(
    ("network", "got"),
    [
        ({"name": "mlp", "width": 10_000_000, "depth": 2}, r"1e\+14 weights \(\d{7} GB while it learns, of \d+ GB\)"),
        ({"name": "resnet", "width": 10**9}, "RuntimeError: Storage size calculation overflowed .*"),
    ],
)
def test_one_that_no_machine_holds_is_named_by_its_place(network, got):
    write(changed("benchmark.networks", [network]))
    rule = r"benchmark.networks\[0\]: must be a network that fits into memory"
    with pytest.raises(ConfigError, match=f"^{rule}, got {got}$"):
        check_networks(SHAPE, CLASSES)


def test_one_that_takes_all_memory_is_not_built(monkeypatch):
    """Weights by the thousand million are counted first: to make them would end other programs, or this one."""
    sizes = {"SC_PAGE_SIZE": 1, "SC_PHYS_PAGES": 12 * 650}
    monkeypatch.setattr("os.sysconf", sizes.get)
    narrow = {"name": "mlp", "width": 8, "depth": 1}  # 65 * 8 + 9 * 10 = 610
    assert fitting(narrow, "here", SHAPE, CLASSES).width == 8
    built = []
    monkeypatch.setattr("dasm.networks.mlp.Classifier", lambda body, head: built.append(head) or Body(body, head))
    with pytest.raises(ConfigError, match=r"^here: must be a network that fits into memory, got 685 weights "):
        fitting(narrow | {"width": 9}, "here", SHAPE, CLASSES)
    assert [head.weight.device.type for head in built] == ["meta"]


def test_experts_have_networks_too():
    write(changed("experts.trainer.network.depth", 9, changed("matching.trainer.network.depth", 9, ZOO)))
    found = {network["where"]: network["options"] for network in json.loads(NETWORKS.read_text())}
    deep = [where for where, options in found.items() if options.get("depth") == 9]
    assert deep[0] == "experts.trainer.network" and "matching.trainer.network" not in deep, "equal ones are built once"


@pytest.mark.parametrize("file", ["params.yaml", *sorted(str(p) for p in ROOT.glob("studies/*/params.yaml"))])
def test_a_network_that_is_written_down_is_the_one_that_was_built(file):
    study = params.read(ROOT / file)
    whole = parse(study)
    written = json.loads(json.dumps(networks(whole, study)))
    assert whole.matching.trainer.network in [fitting(one["options"], "here", (3, 64, 64), 10) for one in written]


def test_the_default_study_sees_its_images():
    write(STUDY)
    check_networks(SHAPE, CLASSES)


def test_it_is_the_network_of_these_options():
    assert fitting({"name": "convnet", "width": 7, "depth": 1}, "here", SHAPE, CLASSES).width == 7
