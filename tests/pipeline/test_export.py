"""The command that hands a set on: what it writes, what its card says, and what it refuses."""

import hashlib
import json
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from ruamel.yaml import YAML

import dasm
from dasm.evaluate import Accuracy
from dasm.machine.counts import Counts
from dasm.pieces import cut
from dasm.storage.results import write_results
from dasm.tables import read_chain
from pipeline import export, layout, methods, params
from pipeline.__main__ import main
from pipeline.work import recipes
from pipeline.work.states import write_state
from tests.conftest import make_blobs
from tests.graph import ROOT
from tests.handmade import digests, stored_images

NAMES = tuple(str(digit) for digit in range(10))
REAL = replace(make_blobs(1, seed=0, classes=10), class_names=NAMES)
IPC = (2, 1, 1, 1)
TESTS = (0.5, 0.6, 0.7)


def results(path: Path, arm: str, tests=TESTS, **more) -> None:
    found = {
        name: [Accuracy(seed=s, validation=0.9, test=test + shift, right=(True,)) for s, test in enumerate(tests)]
        for name, shift in (("convnet", 0.0), ("mlp", -0.25))
    }
    identity = {"arm": arm, "code_version": "0", "torch_version": "2.0", "device": "cpu", **more}
    write_results(path, found, {name: Counts() for name in found}, identity, {})


def segment(k: int, ipc: int, factor: int = 1):
    return stored_images(k, ipc=ipc, channels=1, classes=10, factor=factor)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The digits study in four segments, with noise for images and made-up accuracies."""
    root = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        make()
    return root


def make() -> None:
    study = params.read(ROOT / "params.yaml")
    links = [{"k": k, "next": k + 1} for k in range(len(IPC))]
    study |= {"chain": links, "rescore": links[:-1], "planned_ipc": sum(IPC)}
    study["segment"] = {f"s{k}": {"ipc": ipc, "iterations": 96 * ipc} for k, ipc in enumerate(IPC)}
    study["benchmark"]["states"] = [link["next"] for link in links]
    with Path("params.yaml").open("w") as file:
        YAML().dump(study, file)
    study = params.read()
    for k, ipc in enumerate(IPC):
        for arm, recipe in {
            "dasm": recipes.distilled(study, "dasm", ipc, 96 * ipc),
            "random": recipes.picked(study, "random", ipc),
        }.items():
            before = layout.distilled(arm, k) if k else None
            write_state(layout.distilled(arm, k + 1), before, segment(k, ipc), REAL, arm=arm, recipe=recipe)
        joint = segment(k, sum(IPC[: k + 1]))
        recipe = recipes.distilled(study, "idc", sum(IPC[: k + 1]), 96 * sum(IPC[: k + 1]))
        write_state(layout.distilled("idc", k + 1), None, joint, REAL, arm="idc", recipe=recipe)
        for arm in ("dasm", "random", "idc"):
            judged = dasm.load(layout.distilled(arm, k + 1)).content
            results(layout.results(arm, k + 1), arm, [test + k / 100 for test in TESTS], content=judged)
    results(layout.FULL, "full", (0.9, 0.9, 0.9))
    for group, blocks in methods.BLOCKS.items():
        for arm in study[group]:
            for block in blocks:
                path = Path(f"data/blueprint/arms/{arm}/{block}.json")
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps({"options": methods.block(study, arm, block), "sources": {}}))


@pytest.fixture
def study(made, tmp_path, monkeypatch):
    """A copy that may be spoilt."""
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return params.read()


def edit(change) -> None:
    study = params.read()
    change(study)
    with Path("params.yaml").open("w") as file:
        YAML().dump(study, file)


def front(card: str) -> dict:
    return YAML(typ="safe", pure=True).load(card.split("---\n")[1])


@pytest.mark.parametrize(
    ("arm", "ipc", "state"), [("dasm", None, 4), ("dasm", "3", 2), ("idc", "4", 3), ("random", "2", 1)]
)
@pytest.mark.usefixtures("study")
def test_what_is_written_is_the_prefix_wanted(arm, ipc, state):
    export.main(arm, "out", *([ipc] if ipc else []))
    wanted = dasm.load(layout.distilled(arm, state))
    for form in ("out", "out/distilled.parquet", "out/distilled.safetensors", "out/images"):
        found = dasm.load(form)
        assert found.content == wanted.content
        assert torch.equal(found.labelled().inputs(), wanted.labelled().inputs())
    assert set(digests(Path("out"))) >= {"README.md", "SHA256SUMS", "distilled.parquet", "images/set.json"}


@pytest.mark.usefixtures("study")
def test_the_same_set_gives_the_same_bytes_and_every_file_has_its_hash():
    export.main("dasm", "a")
    export.main("dasm", "deep/er/b")
    assert digests(Path("a")) == digests(Path("deep/er/b"))
    sums = dict(reversed(line.split("  ", 1)) for line in Path("a/SHA256SUMS").read_text().splitlines())
    own = ("SHA256SUMS", "README.md")  # a card may be added to
    files = [file for file in Path("a").rglob("*") if file.is_file() and file.name not in own]
    assert sums == {str(f.relative_to("a")): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.mark.usefixtures("study")
def test_the_card_gives_accuracy_with_its_interval_by_hand():
    """0.5, 0.6, 0.7 and twice 0.01 more: mean 62, std 10; t(0.975, 2) is 4.303: half-width 4.303 * 10 / sqrt(3)."""
    export.main("dasm", "out", "4")
    card = Path("out/README.md").read_text()
    half = f"{4.3026527 * 10 / math.sqrt(3):.1f}"
    assert f"| convnet | 3 | 62.0 ± {half} | 90.0 | torch 2.0 on cpu |" in card
    assert f"| mlp (unseen) | 3 | 37.0 ± {half} | 65.0 | torch 2.0 on cpu |" in card
    assert "(Student's t) from three trainings on.\n\n| network |" in card
    edit(lambda study: study["benchmark"]["protocol"].update(labels="teacher"))
    export.main("dasm", "again", "4")
    said = "All sets, and all real data, are labelled by one convnet that learnt all real images.\n\n| network |"
    assert f"(Student's t) from three trainings on. {said}" in Path("again/README.md").read_text()


@pytest.mark.usefixtures("study")
def test_the_card_says_where_a_set_comes_from(study):
    export.main("dasm", "out", "3")
    card = Path("out/README.md").read_text()
    assert front(card)["license"] == "cc-by-4.0"
    assert front(card)["size_categories"] == ["n<1K"]
    assert front(card)["configs"][0]["data_files"] == [{"split": "train", "path": "distilled.parquet"}]
    found = dasm.load("out")
    for recorded in found.provenance:
        assert recorded["params"] in card and recorded["content"][:12] in card
    assert found.content in card
    for name in ("distilled.parquet", "distilled.safetensors", "images/set.json"):
        assert f"| {name} | `{hashlib.sha256((Path('out') / name).read_bytes()).hexdigest()}` |" in card
    recipe = YAML(typ="safe", pure=True).load(card.split("```yaml\n")[1].split("```")[0])
    for block in ("data", "matching", "evaluator", "selection", "seed", "planned_ipc", "threads"):
        assert recipe[block] == study[block], block
    assert recipe["segments"] == [{"ipc": 2, "iterations": 192}, {"ipc": 1, "iterations": 96}]
    assert "20 synthetic" not in card and "30 synthetic images (3 per class)" in card
    assert "&id" not in card, "no references in the recipe"


@pytest.mark.usefixtures("study")
def test_the_lines_of_the_card_that_load_the_set_work(monkeypatch):
    export.main("dasm", "out")
    (code,) = re.findall(r"```python\n(.*?)```", Path("out/README.md").read_text(), flags=re.DOTALL)
    assert len([line for line in code.splitlines() if line]) <= 3
    monkeypatch.chdir("out")
    scope: dict = {}
    exec(compile(code, "README.md", "exec"), scope)
    assert scope["data"].sizes == (2, 3, 4, 5)


# datasets and what it loads warn about things that are not ours.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("study")
def test_hugging_face_datasets_opens_the_folder_by_its_card(tmp_path, monkeypatch):
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    from datasets import load_dataset, utils

    utils.disable_progress_bars()
    export.main("random", "out", "3")
    found = load_dataset("out", split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == 30 and found.features["label"].names == list(NAMES)
    assert found["segment"] == [0] * 20 + [1] * 10


@pytest.mark.usefixtures("study")
def test_a_path_to_the_source_stays_at_home():
    edit(lambda study: study.update(data={"name": "parquet", "root": "/home/somebody/secret/pictures"}))
    export.main("dasm", "out")
    card = Path("out/README.md").read_text()
    assert "somebody" not in card and "root: pictures" in card
    assert front(card)["license"] == "unknown" and "ask its owner" in card


@pytest.mark.usefixtures("study")
def test_a_set_inside_others_is_named_with_them_and_its_path_stays_at_home_too():
    inner = {"name": "parquet", "root": "/home/somebody/secret/pictures"}
    data = {"name": "long_tailed", "factor": 5, "of": {"name": "noisy", "share": 0.3, "of": inner}}
    edit(lambda study: study.update(data=data))
    export.main("dasm", "out")
    card = Path("out/README.md").read_text()
    assert "Made from `long_tailed of noisy of parquet`." in card
    recipe = YAML(typ="safe", pure=True).load(card.split("```yaml\n")[1].split("```")[0])
    assert "somebody" not in card and recipe["data"]["of"]["of"] == {"name": "parquet", "root": "pictures"}
    assert (recipe["data"]["factor"], recipe["data"]["of"]["share"]) == (5, 0.3)
    edit(lambda study: data.update(of={"name": "digits"}) or study.update(data=data))
    export.main("dasm", "again")
    assert front(Path("again/README.md").read_text())["license"] == "cc-by-4.0"


@pytest.mark.usefixtures("study")
def test_a_prefix_that_nobody_judged_is_said_to_be_so():
    edit(lambda study: study["benchmark"].update(states=[4]))
    layout.results("dasm", 2).unlink()
    export.main("dasm", "out", "3")
    assert "This prefix was not benchmarked." in Path("out/README.md").read_text()


@pytest.mark.usefixtures("study")
def test_real_images_are_not_called_synthetic():
    export.main("random", "out")
    card = Path("out/README.md").read_text()
    assert "50 real images (5 per class), picked by `random`" in card
    assert "synthetic" not in card and "unseen" not in card


def refused(capsys, *arguments: str) -> str:
    assert main(["export", *arguments]) == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert not list(Path().rglob(".*")), "nothing half-written"
    return said[0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["dsam", "out"], "export: no arm called 'dsam' (have dasm, sequential, idc, random, mosaic)"),
        (["dasm", "out", "1"], "export: images per class must be one of 2, 3, 4, 5 (whole segments), got '1'"),
        (["dasm", "out", "all"], "export: images per class must be one of 2, 3, 4, 5 (whole segments), got 'all'"),
        (["mosaic", "out"], "data/distilled/mosaic/4: must exist, got no such folder (`dvc repro` makes it)"),
        (["dasm", "data"], "data: must be a new or an empty folder, got one with 3 entries"),
        (["dasm", "params.yaml"], "params.yaml: must be a new or an empty folder, got a file"),
    ],
)
@pytest.mark.usefixtures("study")
def test_a_wrong_argument_gets_one_line(capsys, arguments, expected):
    before = digests(Path())
    assert refused(capsys, *arguments) == f"error: {expected}"
    assert digests(Path()) == before


@pytest.mark.parametrize("arguments", [[], ["dasm"], ["dasm", "out", "5", "6"]])
@pytest.mark.usefixtures("study")
def test_a_wrong_number_of_arguments_gets_one_line(capsys, arguments):
    assert refused(capsys, *arguments).endswith(" (usage: python -m pipeline export ARM FOLDER [IPC])")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s["matching"].update(momentum=0.4), "s0.parquet: must be made with what params.yaml says, got 'ano"),
        (lambda s: s["segment"]["s1"].update(iterations=9), "s1.parquet: must be made with what params.yaml says, got"),
        (lambda s: s.update(seed=1), "another seed' (`dvc repro` makes it again)"),
        (lambda s: s["selection"]["window"].update(width=0.4), "arms/dasm/selection.json: must be what params.yaml"),
        (lambda s: s["evaluator"].update(steps=9), "arms/dasm/evaluator.json: must be what params.yaml says"),
        (lambda s: s["method"].update(dasm={"matching": {"momentum": 0.1}}), "another matching'"),
    ],
)
@pytest.mark.usefixtures("study")
def test_a_set_that_params_yaml_does_not_describe_is_refused(capsys, change, expected):
    edit(change)
    assert expected in refused(capsys, "dasm", "out")
    assert not Path("out").exists()


@pytest.mark.usefixtures("study")
def test_how_experts_were_trained_is_on_the_card_and_is_checked(capsys):
    zoo = params.read(ROOT / "studies/zoo/params.yaml")
    edit(lambda s: s.update(experts=zoo["experts"], matching=methods.block(zoo, "dasm-mtt", "matching")))
    study, made = params.read(), [layout.distilled("dasm", k) for k in range(1, 5)]
    for k, folder in enumerate(made):
        shutil.rmtree(folder)
        recipe = recipes.distilled(study, "dasm", IPC[k], 96 * IPC[k], experts=recipes.followed(study, first=k == 0))
        write_state(folder, made[k - 1] if k else None, segment(k, IPC[k]), REAL, arm="dasm", recipe=recipe)
    matching = {"options": methods.block(study, "dasm", "matching")}
    Path("data/blueprint/arms/dasm/matching.json").write_text(json.dumps(matching))
    edit(lambda s: s["benchmark"].update(states=[4]))
    export.main("dasm", "out", "4")
    recipe = YAML(typ="safe", pure=True).load(Path("out/README.md").read_text().split("```yaml\n")[1].split("```")[0])
    assert recipe["experts"] == zoo["experts"]
    # Those of the first segment have no prefix to learn, so DVC makes it again for no such change.
    edit(lambda s: s["experts"].update(prefix_steps=zoo["experts"]["prefix_steps"] + 1))
    assert "s1.parquet: must be made with what params.yaml says, got 'another experts'" in refused(
        capsys, "dasm", "again", "4"
    )
    edit(lambda s: s["experts"].update(epochs=11))
    assert "s0.parquet: must be made with what params.yaml says, got 'another experts'" in refused(
        capsys, "dasm", "again", "4"
    )


@pytest.mark.usefixtures("study")
def test_the_card_says_whether_items_come_with_classes_or_soft_labels():
    export.main("dasm", "hard")
    assert "(normalised image, class index)" in Path("hard/README.md").read_text()
    for folder in (layout.distilled("dasm", k) for k in range(1, 5)):
        recipe = read_chain([folder / "s0.parquet"])[0][1]["recipe"]
        shutil.rmtree(folder)
        soft = replace(segment(0, IPC[0]), soft_labels=torch.rand(10 * IPC[0], 10).softmax(1))
        write_state(folder, None, soft, REAL, arm="dasm", recipe=recipe)
    edit(lambda s: s["benchmark"].update(states=[4]))
    export.main("dasm", "soft", "2")
    card = Path("soft/README.md").read_text()
    assert "(normalised image, soft label)" in card and "class index)" not in card
    assert 'labels="hard"' in card


@pytest.mark.usefixtures("study")
def test_what_concerns_other_arms_and_later_segments_is_no_hindrance():
    edit(
        lambda s: s["segment"]["s3"].update(iterations=9) or s["method"].update(sequential={"matching": {"factor": 2}})
    )
    export.main("dasm", "out", "4")


@pytest.mark.usefixtures("study")
def test_accuracies_of_another_set_are_refused(capsys):
    results(layout.results("dasm", 4), "dasm", content="of another")
    assert "data/results/dasm/4.parquet: must be the benchmark of this set, got 'that of" in refused(
        capsys, "dasm", "out"
    )
    layout.results("dasm", 4).unlink()
    assert "data/results/dasm/4.parquet: must exist" in refused(capsys, "dasm", "out")


@pytest.mark.usefixtures("study")
def test_a_joint_prefix_that_was_passed_over_says_how_to_have_it(capsys):
    (file,) = layout.distilled("idc", 2).glob("*.parquet")
    file.unlink()
    said = "data/distilled/idc/2: must hold segments, got none (idc is joint: name the prefix in benchmark.states)"
    assert refused(capsys, "idc", "out", "3") == f"error: {said}"
    assert not Path("out").exists()


@pytest.mark.usefixtures("study")
def test_a_prefix_of_a_set_that_was_made_once_is_written_with_what_the_whole_took():
    edit(lambda study: study["method"].update({"idc": {"joint": "once"}}))
    study = params.read()
    plan = methods.whole_plan(study, "idc", 3)
    first, *rest = cut(segment(9, sum(IPC)), IPC)
    recipe = recipes.distilled(study, "idc", **plan)
    folder = layout.distilled("idc", 2)
    shutil.rmtree(folder)
    write_state(Path("one"), None, replace(first, index=0), REAL, arm="idc", recipe=recipe)
    write_state(folder, Path("one"), replace(rest[0], index=1), REAL, arm="idc", recipe=recipe)
    edit(lambda study: study["benchmark"].update({"states": [1, 3, 4]}))  # this one was not judged
    export.main("idc", "out", "3")
    assert dasm.load("out").sizes == (2, 3)
    card = Path("out/README.md").read_text()
    assert card.count(f"- ipc: {sum(IPC)}\n") == card.count(f"iterations: {plan['iterations']}\n") == 1
    assert "joint: once\n" in card


@pytest.mark.usefixtures("study")
def test_a_state_that_was_tampered_with_is_refused(capsys):
    layout.distilled("random", 4).joinpath("s0.parquet").replace(layout.distilled("dasm", 4) / "s0.parquet")
    assert "data/distilled/dasm/4/s1.parquet: must follow segment " in refused(capsys, "dasm", "out")
