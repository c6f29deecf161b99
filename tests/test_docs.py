"""The guides name commands, files and parameters that there are, and their code runs."""

import ast
import json
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

import dasm
from dasm import objectives, windows
from dasm.coresets import Coreset, Guide
from dasm.data.image_folder import ImageFolder
from dasm.difficulty import Difficulty
from dasm.errors import ConfigError
from dasm.export import export
from dasm.images.png import to_png
from dasm.images.prepare import write_images
from dasm.images.store import read_split
from dasm.matching import Matching
from dasm.networks import predict
from dasm.networks.convnet import ConvNet
from dasm.plugins import build
from dasm.segments import SegmentPlan, distil_segment, stored_segment
from dasm.selection import Selection
from dasm.tables import write_difficulty
from dasm.train import Recipe
from dasm.windows import Progress
from pipeline import methods, params
from pipeline.__main__ import COMMANDS
from pipeline.reporting.holdings import MEASURES
from pipeline.study import parse
from pipeline.work.states import write_state
from tests.conftest import make_blobs
from tests.graph import ROOT
from tests.pictures import fill
from tests.test_house import SOURCE

GUIDE = (ROOT / "docs/your-own-data.md").read_text()
STUDY = params.read(ROOT / "studies/pictures/params.yaml")


@pytest.fixture
def project(tmp_path, monkeypatch, task):
    """A project with real images, and an exported set of some of them in two segments."""
    monkeypatch.chdir(tmp_path)
    real, folder = task.train, Path("data/real")
    folder.mkdir(parents=True)
    for kind in ("images", "labels"):
        np.save(folder / f"test.{kind}.npy", getattr(task.test, kind).numpy())
    meta = {"class_names": real.class_names, "mean": real.mean.tolist(), "std": real.std.tolist()}
    (folder / "meta.json").write_text(json.dumps(meta))
    for k in range(2):
        rows = [real.members(label)[2 * k : 2 * k + 2] for label in range(real.num_classes)]
        images = [real.images[row] for row in rows]
        sources = torch.stack(rows)
        segment = stored_segment(torch.cat(images), sources, index=k, factor=1, lower=0.0, upper=1.0, iterations=0)
        write_state(Path(f"state/{k + 1}"), Path(f"state/{k}") if k else None, segment, real, arm="x", recipe={})
    Path("my-set").mkdir()
    export(Path("my-set"), dasm.load("state/2"))
    return tmp_path


GUIDES = {path.name: path.read_text() for path in (ROOT / "docs").glob("*.md")}


@pytest.mark.parametrize("name", GUIDES)
def test_every_command_of_every_guide_exists(name):
    for command in re.findall(r"python -m pipeline (\w+)|-m pipeline (\w+)", GUIDES[name]):
        called = "".join(command)
        assert called in COMMANDS or (ROOT / f"pipeline/stages/{called}.py").exists(), called


@pytest.mark.parametrize("name", GUIDES)
def test_every_link_of_every_guide_leads_somewhere(name):
    """To a file that is there, and a heading in it."""
    for path, heading in re.findall(r"\]\(([^)#:]*)#?([^)]*)\)", GUIDES[name]):
        target = (ROOT / "docs" / path) if path else ROOT / "docs" / name
        assert target.exists(), path
        headings = re.findall(r"^#+ (.*)$", target.read_text(), flags=re.MULTILINE) if heading else []
        anchors = [re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in headings]
        assert not heading or heading in anchors, (path, heading)


def test_every_study_is_in_the_list():
    (table,) = re.findall(r"\| study \|.*?\n\n", GUIDES["running.md"], flags=re.DOTALL)
    listed = set(re.findall(r"`([a-z0-9-]+)`", "".join(line.split("|")[1] for line in table.splitlines() if line)))
    assert listed == {"digits", *(folder.name for folder in (ROOT / "studies").iterdir() if folder.is_dir())}


def example(title):
    """The Python and the YAML of a section of the guide."""
    section = GUIDES["plug-ins.md"].split(f"## {title}\n")[1].split("\n## ")[0]
    (code,), (lines,) = (re.findall(rf"```{kind}\n(.*?)```", section, flags=re.DOTALL) for kind in ("python", "yaml"))
    return code, lines


def test_the_example_of_an_objective_is_one(tmp_path, monkeypatch, blobs):
    """Two arms of a study distil by it, and its distance falls."""
    code, lines = example("An objective")
    (tmp_path / "moments.py").write_text(code)
    assert re.search(SOURCE, ast.get_docstring(ast.parse(code))), "the tests of the house would refuse it"
    monkeypatch.setattr(objectives, "__path__", [*objectives.__path__, str(tmp_path)])
    digits = params.read(ROOT / "params.yaml")
    arms, controls = [*digits["arms"], "dasm-moments"], [*digits["controls"], "moments"]
    benchmark = {**digits["benchmark"], "arms": [*arms, *controls, *digits["coresets"]]}
    study = {**digits, **YAML(typ="safe").load(lines), "arms": arms, "controls": controls, "benchmark": benchmark}
    parse(study)
    for arm in ("dasm-moments", "moments"):
        matching = methods.section(study, arm, "matching", Matching)
        assert type(matching.objective).__name__ == "Moments"
        plan = SegmentPlan(ipc=2, iterations=60)
        about = {"weights": torch.ones(len(blobs)), "rank": None, "planned_ipc": 2, "seed": 0}
        _, history = distil_segment(replace(matching, factor=1), plan, blobs, [], **about)
        assert sum(history[-10:]) < 0.8 * sum(history[:10])
    with pytest.raises(ConfigError, match="real_batch must be >= 1"):
        type(matching.objective)(real_batch=0)


def test_the_example_of_a_part_is_one(tmp_path, monkeypatch):
    """Its file is found by its name, its arm by its lines in params.yaml, and its weights are what it says."""
    code, lines = example("A window, from nothing to its row in the table")
    (tmp_path / "gentle.py").write_text(code)
    assert re.search(SOURCE, ast.get_docstring(ast.parse(code))), "the tests of the house would refuse it"
    monkeypatch.setattr(windows, "__path__", [*windows.__path__, str(tmp_path)])
    departures = YAML(typ="safe").load(lines)
    digits = params.read(ROOT / "params.yaml")
    benchmark = {**digits["benchmark"], **departures.pop("benchmark")}
    study = {**digits, **departures, "benchmark": benchmark}
    parse(study)
    window = methods.section(study, "gentle", "selection", Selection).window
    difficulty = hard([0.1, 0.2, 0.3, 0.4])
    assert window(difficulty, progress(first=difficulty, prefix_ipc=0)).tolist() == [1] * 4
    assert window(difficulty, progress(first=difficulty, prefix_ipc=10)).tolist() == [1, 2, 3, 4]
    with pytest.raises(ConfigError, match="strength must be >= 1"):
        type(window)(strength=0.5)


def test_the_lines_that_make_a_file_of_a_foreign_set_make_one_that_is_read(tmp_path, monkeypatch):
    text = GUIDES["running.md"].split("## A set made elsewhere")[1]
    (code,), (lines,) = (re.findall(rf"```{kind}\n(.*?)```", text, flags=re.DOTALL)[:1] for kind in ("python", "yaml"))
    monkeypatch.chdir(tmp_path)
    Path("data/sets").mkdir(parents=True)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    pixels = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 1.2 - 0.1
    torch.save(((pixels - mean[:, None, None]) / std[:, None, None]).requires_grad_(), "images_best.pt")
    torch.save(torch.arange(10).repeat(2).int(), "labels_best.pt")
    exec(compile(code, "running.md", "exec"), {})
    said = YAML(typ="safe").load(lines)
    digits = params.read(ROOT / "params.yaml")
    benchmark = {**digits["benchmark"], "arms": [*digits["benchmark"]["arms"], "datm"]}
    study = {**digits, **said, "method": {**digits["method"], **said["method"]}, "benchmark": benchmark}
    parse(study)
    given = methods.section(study, "datm", "coreset", Coreset)
    real = make_blobs(2, 0, classes=10, channels=3)
    (segment,) = given.segments(real, [2], factor=1, seed=0, guide=Guide(readings=(), judge=lambda _: 0.0))
    rows = torch.stack([torch.arange(10), torch.arange(10) + 10], dim=1).flatten()
    assert (segment.images.float() - pixels.clamp(0, 1)[rows] * 255).abs().max() <= 0.501


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """A folder of pictures that was prepared and scored: in stored order the later, the easier. Its training images."""
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "in", {f"{c}/{i:02}.png": 40 * n + i for n, c in enumerate(("cat", "dog")) for i in range(40)})
    source = ImageFolder(root="in", color="grey").open(0)
    write_images(Path("data/images.parquet"), source)
    real = source.task().train
    Path("data/difficulty/dasm").mkdir(parents=True)
    difficulty = replace(hard([-float(place) for place in real.origin]), labels=real.labels)
    write_difficulty(Path("data/difficulty/dasm/0.parquet"), difficulty, torch.ones(len(real)), {})
    Path("data/sets").mkdir()
    return real


def blocks(text, title):
    return re.findall(r"```(python|yaml)\n(.*?)```", text.split(f"## {title}\n")[1].split("\n## ")[0], flags=re.DOTALL)


def test_the_lines_that_name_the_hardest_pictures_do(drawn, capsys):
    ((_, code),) = blocks(GUIDE, "Which pictures are hard?")
    exec(compile(code, "your-own-data.md", "exec"), {})
    heads, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert heads == ["name", "label", "score", "right"]
    levels = drawn.images[:20, 0, 0, 0].tolist()
    assert [row[0] for row in rows] == [f"{('cat', 'dog')[level // 40]}/{level % 40:02}.png" for level in levels]


def test_the_lines_that_make_a_file_of_scores_make_one_that_is_read(drawn):
    (_, published), (_, lines), (_, own) = blocks(GUIDES["running.md"], "Scores made elsewhere")
    labels = np.repeat([0, 1], 40)
    np.savez("cifar10-cscores-orig-order.npz", scores=np.arange(80) / 80, labels=labels)
    exec(compile(published, "running.md", "exec"), {})
    exec(compile(own, "running.md", "exec"), {})
    said = YAML(typ="safe").load(lines)
    digits = params.read(ROOT / "params.yaml")
    benchmark = {**digits["benchmark"], "arms": ["dasm", "cscores", *digits["benchmark"]["arms"][1:]]}
    study = {**digits, **said, "method": {**digits["method"], **said["method"]}, "benchmark": benchmark}
    parse(study)
    score = methods.section(study, "cscores", "selection", Selection).score
    assert torch.equal(score(drawn, (), ()), -drawn.origin.float() / 80)
    assert torch.equal(replace(score, path="data/sets/dasm.parquet")(drawn, (), ()), -drawn.origin.float())


def hard(scores):
    score = torch.tensor(scores)
    return Difficulty(score=score, spread=score, right=score, labels=torch.zeros(len(scores), dtype=torch.long))


def progress(*, first, prefix_ipc):
    return Progress(first=first, segments=1, first_windowed=1, prefix_ipc=prefix_ipc, planned_ipc=10, stream=0)


def test_the_arms_that_would_refute_are_those_of_a_study():
    """Every whole line of YAML in the table is what some arm of the study `controls` says, or for R15 of `prefixes`."""
    (table,) = re.findall(r"\| claim \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    methods = []
    for name in ("controls", "prefixes"):
        study = params.read(ROOT / f"studies/{name}/params.yaml")
        parse(study)
        methods += study["method"].values()
    said = [{key: value for key, value in method.items() if key != "note"} for method in methods]
    found = 0
    for cell in (line.split("|")[4].strip() for line in table.splitlines()[2:] if line):
        for part in re.findall(r"`([^`]+: [^`…]+)`", cell):
            value = YAML(typ="safe").load(part)
            (first,) = value.items()
            # Of the whole benchmark, so of no arm; R17 has a study of its own.
            of_all = {"benchmark.protocol.order": "stagewise", "benchmark.protocol.labels": "teacher"}
            assert value in said or first[1] in said or of_all.get(first[0]) == first[1], part
            found += 1
    assert found >= 6


def test_the_field_s_methods_are_arms_of_a_study():
    """What the guide says of each is accepted in a study that has what they ask for besides."""
    (table,) = re.findall(r"\| method \| under \| options \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    rows = cells_of(table)
    assert len(rows) >= 12
    study = params.read(ROOT / "studies/zoo/params.yaml")
    for number, (_, under, options) in enumerate(rows):
        arm, kind = f"field-{number}", under.strip("`")
        method = YAML(typ="safe").load(re.match(r"`(\{.*?\})`", options)[1])
        network = {"trainer": {"network": {"norm": "batch"}}} if "sre2l" in options else {}
        if "matching" in method:
            method["matching"] |= network
        tried = {
            **study,
            kind: [*study[kind], arm],
            "method": {**study["method"], arm: method},
            "benchmark": {**study["benchmark"], "arms": [*study["benchmark"]["arms"], arm]},
            "experts": {**study["experts"], "epochs": 100},
            "evaluator": {**study["evaluator"], "snapshots": 4},
        }
        parse(tried)
        wrong = {**tried, "method": {**tried["method"], arm: {**method, "matchnig": 1}}}
        with pytest.raises(ConfigError, match="matchnig"):
            parse(wrong)


@pytest.mark.parametrize(("number", "study", "least"), [(0, "controls", 15), (1, "labels", 5)])
def test_the_verdicts_are_those_of_the_root_seeds(number, study, least):
    """Refuted unless the interval lies above zero, on test images at ten images per class."""
    table = re.findall(r"\| asked \| difference \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)[number]
    rows = cells_of(table)
    assert len(rows) >= least
    for claim, difference, *cells, verdict in rows:
        compare(claim, study, difference, cells, verdict)


def test_the_verdicts_of_other_studies_are_those_of_their_root_seeds():
    (table,) = re.findall(r"\| asked \| study \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    rows = cells_of(table)
    assert {"R6", "R7", "R14", "R16", "R18", "R19"} <= {row[0] for row in rows}
    for claim, study, difference, *cells, verdict in rows:
        name, link = re.fullmatch(r"\[`([a-z]+)`\]\((.*)\)", study).groups()
        assert link == f"../reports/{name}/roots.md"
        compare(claim, name, difference, cells, verdict)


def test_what_the_guide_says_of_what_sets_hold_is_that_of_the_root_seeds():
    (table,) = re.findall(r"\| asked \| measure \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    found = pd.read_csv(ROOT / "reports/digits/roots-holdings-paired.csv")
    found = found[found["prefix_ipc"] == 10].set_index(["measure", "arm", "minus"])
    rows = cells_of(table)
    assert {"R12", "R20"} == {row[0] for row in rows}
    for claim, measure, difference, cell in rows:
        (name,), (arm, minus) = (re.findall(r"`([a-z0-9_-]+)`", words) for words in (measure, difference))
        row, digits = found.loc[name, arm, minus], MEASURES[name]
        assert cell == written(row, digits), (claim, name)


def test_what_the_guide_says_of_filters_on_cifar10_is_in_the_report():
    (table,) = re.findall(r"\| asked \| arm \| (?!who ranks).*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    found = pd.read_csv(ROOT / "reports/cifar10-filters/paired.csv")
    found = found[found["arm"] == "idc"].set_index(["minus", "split"])
    rows = {arm.strip("`"): cells for _, arm, _, *cells in cells_of(table)}
    assert rows.keys() == {minus for minus, _ in found.index}
    for arm, cells in rows.items():
        for split, cell in zip(("test", "validation"), cells, strict=True):
            assert cell == written(turned(found.loc[arm, split])), (arm, split)


def test_what_the_guide_says_of_judges_on_cifar10_is_in_the_report():
    (table,) = re.findall(r"\| asked \| arm \| who ranks \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    found = pd.read_csv(ROOT / "reports/cifar10-judges/paired.csv")
    found = found[found["arm"] == "dasm"].set_index(["minus", "split"])
    rows = {arm.strip("`"): cells for _, arm, _, *cells in cells_of(table)}
    assert rows.keys() == {minus for minus, _ in found.index} - {"random"}
    for arm, cells in rows.items():
        for split, cell in zip(("test", "validation"), cells, strict=True):
            assert cell == written(turned(found.loc[arm, split])), (arm, split)


def test_what_the_guide_says_of_rates_on_cifar10_is_in_the_report():
    (table,) = re.findall(r"\| arm \| what it is \| rate \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    found = pd.read_csv(ROOT / "reports/cifar10-rates/paired.csv")
    found = found[found["arm"] == "idc"].set_index(["minus", "split"])
    study = params.read(ROOT / "studies/cifar10-rates/params.yaml")
    rows = {arm.strip("`"): cells for arm, _, *cells in cells_of(table)}
    assert rows.keys() == {minus for minus, _ in found.index} - {"random"}
    for arm, (rate, _, *cells) in rows.items():
        own = study["method"][arm].get("matching", {})
        assert float(rate) == own.get("learning_rate", study["matching"]["learning_rate"])
        for split, cell in zip(("test", "validation"), cells, strict=True):
            assert cell == written(turned(found.loc[arm, split])), (arm, split)


def test_what_the_guide_says_of_segments_at_their_best_rate_is_in_the_table_of_root_seeds():
    (table,) = re.findall(r"\| three root seeds \| what it is \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    found = pd.read_csv(ROOT / "reports/cifar10-lead/roots-paired.csv")
    assert {*found["n"]} == {3}
    found = found[found["arm"] == "static-start-10"].set_index(["minus", "split"])
    rows = {arm.strip("`"): cells for arm, _, *cells in cells_of(table)}
    assert rows.keys() == {minus for minus, _ in found.index} - {"full"}
    for arm, cells in rows.items():
        for split, cell in zip(("test", "validation"), cells, strict=True):
            assert cell == written(found.loc[arm, split]), (arm, split)


@pytest.mark.parametrize(
    ("study", "column", "least"),
    [("cifar10-prefixes", "split", 4), ("prefixes", "network", 8)],
    ids=["cifar10", "digits"],
)
def test_what_the_guide_says_of_sets_of_every_size_is_in_the_table_of_root_seeds(study, column, least):
    """Difference by difference, size by size; on the digits of test images."""
    (table,) = re.findall(rf"\| R15, `{study}` \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    sizes = [int(cell) for cell in table.splitlines()[0].split("|")[3:-1]]
    found = pd.read_csv(ROOT / f"reports/{study}/roots-paired.csv")
    assert {*found["n"]} == {3} and sizes == sorted({*found["prefix_ipc"]})
    found = found.query("split == 'test'") if column == "network" else found
    found = found.set_index(["arm", "minus", column, "prefix_ipc"])
    rows = cells_of(table)
    assert len(rows) >= least
    for difference, kind, *cells in rows:
        arm, minus = re.findall(r"`([a-z0-9-]+)`", difference)
        name = {"ConvNet": "convnet", "MLP": "mlp"}.get(kind, kind)
        for size, cell in zip(sizes, cells, strict=True):
            row = found.loc[arm, minus, name, size]
            assert cell == ("same set" if row["same"] else written(row)), (difference, kind, size)


def test_what_the_guide_says_of_segments_on_cifar10_is_in_the_table_of_root_seeds():
    (table,) = re.findall(r"\| asked \| of three root seeds \|.*?\n\n", GUIDES["method.md"], flags=re.DOTALL)
    columns = {}
    for study in ("cifar10-easy", "cifar10-easy-long"):
        found = pd.read_csv(ROOT / f"reports/{study}/roots-paired.csv")
        assert {*found["n"]} == {3}
        found = found.set_index(["arm", "minus", "split"])
        columns |= {(study, split): found.xs(split, level="split") for split in ("test", "validation")}
    rows = cells_of(table)
    assert len(rows) >= 6
    for claim, difference, *cells in rows:
        arm, minus = re.match(r"`([a-z0-9-]+)` \N{MINUS SIGN} `([a-z0-9-]+)`", difference).groups()
        for (column, found), cell in zip(columns.items(), cells, strict=True):
            there = (arm, minus) in found.index  # an arm minus those after it
            row = found.loc[arm, minus] if there else turned(found.loc[minus, arm])
            assert cell == written(row), (claim, difference, column)


def turned(row):
    return {"mean": -row["mean"], "lower": -row["upper"], "upper": -row["lower"]}


def cells_of(table):
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:] if line]


def written(row, digits=1):
    """A difference and its interval as the guide writes them."""
    mean, lower, upper = (f"{row[k]:+.{digits}f}".replace("-", "\N{MINUS SIGN}") for k in ("mean", "lower", "upper"))
    sure = "**" if row["lower"] > 0 or row["upper"] < 0 else ""
    return f"{sure}{mean}{sure} ({lower} to {upper})"


def compare(claim, study, difference, cells, verdict):
    """A row of verdicts with the root seeds of its study, at ten images per class."""
    found = pd.read_csv(ROOT / f"reports/{study}/roots-paired.csv")
    found = found[(found["split"] == "test") & (found["prefix_ipc"] == 10)].set_index(["arm", "minus", "network"])
    arm, minus = re.findall(r"`([a-z0-9_-]+)`", difference)
    held = []
    for network, name, cell in zip(("convnet", "mlp"), ("ConvNet", "MLP"), cells, strict=True):
        row = found.loc[arm, minus, network]
        assert cell == written(row), claim
        held += [name] if row["lower"] > 0 else []
    assert verdict == {0: "refuted", 1: f"holds on the {''.join(held)}", 2: "holds"}[len(held)], claim


def test_every_command_exists():
    commands = re.findall(r"python -m pipeline (\w+)", GUIDE)
    assert {"study", "export", "plan", "check"} <= set(commands)
    for command in commands:
        assert command in COMMANDS or (ROOT / f"pipeline/stages/{command}.py").exists(), command
    five = GUIDE.split("## Five commands")[1].split("```sh\n")[1].split("```")[0]
    assert len(five.splitlines()) == 5
    for script in re.findall(r"python (\S+\.py)", five):
        assert (ROOT / script).is_file()
    assert re.search(r"^install:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)


def test_the_study_is_what_the_guide_says():
    assert STUDY["study"] == "pictures" and STUDY["data"]["root"] == "data/pictures"
    sizes = [segment["ipc"] for segment in STUDY["segment"].values()]
    assert f"distils {sum(sizes)} images per class in three segments" in re.sub(r"\s+", " ", GUIDE)
    assert len(sizes) == 3 and f"prefix_ipc={sizes[0]}" in GUIDE and STUDY["planned_ipc"] == sum(sizes)
    # What an unwindowed segment starts from, of the 70 % of 40 pictures that are left for training.
    assert sum(sizes) * STUDY["matching"]["factor"] ** 2 <= 0.7 * 40
    change = GUIDE.split("## What to change")[1].split("**More images")[0]
    for dotted in re.findall(r"`([a-z]+\.[a-z_]+)(?::[^`]*)?`", change):
        if dotted != "params.yaml":
            assert params.value(STUDY, dotted) is not None


def test_its_lines_of_python_run(project, capsys):  # noqa: ARG001
    code, _, _ = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    exec(compile(code, "your-own-data.md", "exec"), {})
    assert capsys.readouterr().out.startswith("12 6 ('class 0', 'class 1', 'class 2')")


def test_its_files_are_those_of_an_export(project):
    for name in re.findall(r"^\| `([^`]+)` \|", GUIDE.split("## What is in")[1].split("```")[0], flags=re.MULTILINE):
        assert name in ("README.md", "SHA256SUMS") or list((project / "my-set").glob(re.sub("<.*?>", "*", name))), name


def run_script(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["train.py", *arguments])
    runpy.run_path(str(ROOT / "docs/train.py"), run_name="__main__")


@pytest.mark.slow
@pytest.mark.deep
@pytest.mark.usefixtures("project")
def test_its_training_script_trains(capsys, monkeypatch):
    run_script(monkeypatch, "my-set", "2")
    first, last = capsys.readouterr().out.splitlines()
    assert first == "recipe of docs/train.py: augmentation color, crop, scale, rotate; cutmix 0"
    share, rest = last.split("%", 1)
    assert float(share) > 90, "the blobs are easy"
    assert rest == " of 24 test images right; the network is in model.safetensors"
    assert Path("model.safetensors").exists()


@pytest.mark.usefixtures("project")
def test_its_network_classifies_another_picture(capsys, task):
    """One that has learnt nothing answers as it does without a file in between."""
    shape = task.train.image_shape
    network = ConvNet(width=32, depth=3).build(shape, task.train.num_classes, stream=7)
    save_file(network.state_dict(), "model.safetensors")
    Path("new.png").write_bytes(to_png(task.test.images[0]))
    _, code, _ = re.findall(r"```python\n(.*?)```", GUIDE, flags=re.DOTALL)
    exec(compile(code, "your-own-data.md", "exec"), {})
    expected = int(predict(network, task.test)[0].argmax())
    assert capsys.readouterr().out == f"{task.train.class_names[expected]}\n"


WRONG = {
    ("my-set", "3"): "prefix_ipc must be one of 2, 4",
    ("nowhere",): "error: nowhere: no such file or folder",
    ("state",): "error: state: must hold a distilled set (",
    (): "error: usage: python docs/train.py FOLDER [IPC]",
    ("my-set", "two"): "error: usage: python docs/train.py FOLDER [IPC]",
}


@pytest.mark.parametrize("arguments", WRONG)
@pytest.mark.usefixtures("project")
def test_its_training_script_refuses_in_one_line(monkeypatch, arguments):
    with pytest.raises(SystemExit) as caught:
        run_script(monkeypatch, *arguments)
    assert WRONG[arguments] in caught.value.code and "\n" not in caught.value.code


@pytest.mark.usefixtures("project")
def test_its_training_script_tests_on_images_like_those_of_the_set(monkeypatch):
    real = read_split(Path("data/real"), "test")
    other = {"classes": {"class_names": ("a", "b", "c")}, "images": {"images": real.images[:, :, :4]}}
    for what, change in other.items():
        monkeypatch.setattr("dasm.images.store.read_split", lambda *_, change=change: replace(real, **change))
        with pytest.raises(SystemExit, match=f"^error: my-set: must have the {what} of data/real, "):
            run_script(monkeypatch, "my-set")


def test_its_training_script_learns_as_the_study_judges_or_as_the_set_was_made(project):
    script, given = runpy.run_path(str(ROOT / "docs/train.py")), dasm.load(project / "my-set")
    wanted = {"augmentation": ["color"], "learning_rate": 0.3}
    recorded = [{**entry, "recipe": {"matching": {"trainer": {"recipe": wanted}}}} for entry in given.provenance]
    made, said = script["recipe"](replace(given, provenance=tuple(recorded)))
    assert made == build(Recipe, wanted, "x") and said == "the set (matching.trainer.recipe)"
    study = {"benchmark": {"protocol": {"recipe": {"augmentation": ["crop"]}}}}
    Path("params.yaml").write_text(json.dumps(study))
    made, said = script["recipe"](given)
    assert made == Recipe(augmentation=("crop",)) and said == "params.yaml (benchmark.protocol.recipe)"
