"""Two processes with half of the classes each do what one does."""

import pytest
import torch
import torch.multiprocessing as mp

from dasm.machine import ranks
from tests import ranked

pytestmark = [pytest.mark.deep, pytest.mark.slow]


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(ranked.work, (2, str(folder)), nprocs=2)
    return folder, [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", [*ranked.OBJECTIVES, "5 classes"])
def test_several_processes_end_where_one_does(several, name):
    classes = int(name[0]) if name[0].isdigit() else 3
    objective = ranked.OBJECTIVES.get(name, ranked.OBJECTIVES["batched"])
    alone = ranked.optimise(objective, classes=classes)
    first, second = (said["found"][name] for said in several[1])
    for mine, others, expected in zip(first, second, alone, strict=True):
        assert torch.equal(mine, others), "the same bits in every process"
        assert float((mine - expected).norm() / expected.norm()) < 1e-9
    start = ranked.optimise(objective, classes=classes, iterations=0)[0]
    assert float((alone[0] - start).norm() / start.norm()) > 1e-3, "the pixels have moved"


@pytest.mark.parametrize("name", ranked.OBJECTIVES)
def test_a_process_without_a_class_has_no_distance(name, monkeypatch):
    monkeypatch.setattr(ranks, "mine", lambda classes: range(classes, classes))
    _, history = ranked.optimise(ranked.OBJECTIVES[name])
    assert history.tolist() == [0] * 5


def test_every_class_has_one_process(several):
    first, second = (said["mine"] for said in several[1])
    assert [a + b for a, b in zip(first, second, strict=True)] == [list(range(n)) for n in (1, 3, 10)]
    assert [abs(len(a) - len(b)) for a, b in zip(first, second, strict=True)] == [1, 1, 0]


def test_they_stop_early_together(several):
    alone = ranked.optimise(ranked.OBJECTIVES["batched"], iterations=30, patience=3)[1]
    lengths = [len(said["found"]["stopped"][1]) for said in several[1]]
    assert lengths == [len(alone)] * 2 and len(alone) < 30


def test_the_first_process_alone_writes(several):
    folder, _ = several
    assert [(folder / f"{rank}.safetensors").exists() for rank in range(2)] == [True, False]


def test_a_checkpoint_that_only_one_process_sees_is_refused(several):
    expected = "processes: must have the same iteration to go on from, got 0 and 5 (is .checkpoints shared?)"
    assert [said["apart"] for said in several[1]] == [expected] * 2


@pytest.mark.parametrize("name", ranked.REFUSED)
def test_what_cannot_be_split_is_refused_by_name(several, name):
    for said in several[1]:
        assert said["said"][name].startswith(f"objective: {name} ") and "split" in said["said"][name]


def test_one_process_has_everything_and_adds_nothing():
    assert (ranks.count(), ranks.number(), ranks.mine(7)) == (1, 0, range(7))
    values = torch.ones(3)
    ranks.add_up([values])
    assert values.tolist() == [1, 1, 1]
