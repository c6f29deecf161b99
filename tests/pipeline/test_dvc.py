"""dvc.yaml says what the code says: the blueprint of every stage, chain and segments, the graph."""

import copy
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from jinja2 import Environment, meta
from ruamel.yaml import YAML

from dasm.errors import ConfigError
from pipeline import layout, methods, params, plan
from pipeline.drivers import walk
from pipeline.graph import blueprint
from pipeline.graph.needs import needs
from pipeline.graph.sources import closure
from pipeline.graph.templates import stages
from pipeline.stages import experts
from pipeline.study import parse
from tests.graph import ROOT

DVC_YAML = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
PARAMS = params.read(ROOT / "params.yaml")


def module_of(stage: dict) -> str:
    """The module that a stage's command starts."""
    return stage["cmd"].split()[3]


def files(folder: Path) -> dict[str, str]:
    found = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.json")}
    del found["study.json"]  # which no stage depends on
    return found


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A copy of the sources, which may be edited, with the blueprint of the default study."""
    for folder in ("dasm", "pipeline"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.chdir(tmp_path)
    blueprint.write(PARAMS)
    return tmp_path


def concerned(project: Path, study=PARAMS) -> set[str]:
    """Write the blueprint anew; return the files of it that say something else."""
    before = files(project / layout.BLUEPRINT)
    blueprint.write(study)
    after = files(project / layout.BLUEPRINT)
    assert after.keys() >= before.keys()
    # No stage depends on what is compared when images are read.
    return {name for name in before if after[name] != before[name]} - {"needs.json", "networks.json"}


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("name", sorted(set(DVC_YAML) - {"check"}))
def test_a_stage_depends_on_its_own_code_and_on_no_source_file_beside_it(name):
    deps = DVC_YAML[name]["deps"]
    assert [dep for dep in deps if dep.startswith("data/blueprint/code/")] == [
        f"data/blueprint/code/{module_of(DVC_YAML[name])}.json"
    ]
    assert not [dep for dep in deps if dep.startswith(("dasm", "pipeline"))]


def reads(module: str, *patterns: str) -> bool:
    text = (ROOT / f"pipeline/stages/{module}.py").read_text()
    for helper in ("prefix", "distillation", "benchmarking", "experts", "labelling", "training", "scoring"):
        if f"from pipeline.work.{helper}" in text:
            text += (ROOT / f"pipeline/work/{helper}.py").read_text()
    return any(re.search(pattern, text) for pattern in patterns)


@pytest.mark.parametrize("name", sorted(set(DVC_YAML) - {"check", "report"}))
def test_a_stage_depends_on_exactly_the_blocks_and_numbers_that_it_reads(name):
    stage = DVC_YAML[name]
    module, deps, numbers = module_of(stage), stage["deps"], stage.get("params", [])
    files = {"evaluator": "teacher", "experts": "experts_real" if name == "experts_real" else "experts"}
    for block in ("data", "evaluator", "experts", "benchmark"):
        # Which prefixes are benchmarked is a number of the study's, not part of how they are.
        shared = reads(module, rf'params\.\w+\(study, \w+, "{block}', rf'params\.value\(study, "{block}(?!\.states)')
        assert shared == (f"data/blueprint/{files.get(block, block)}.json" in deps), block
    for block in ("matching", "evaluator", "selection"):
        own = reads(module, rf'methods\.section\(study, arm, "{block}"')
        # No arm is at work yet, or its networks are those that all arms share.
        own &= (name, block) not in {("begin", "evaluator"), ("experts_real", "matching")}
        assert own == (f"data/blueprint/arms/${{item.arm}}/{block}.json" in deps), block
    for number in ("seed", "planned_ipc"):
        assert reads(module, rf'params\.value\(study, "{number}"\)') == (number in numbers), number
    assert reads(module, r"runtime\.start") == ("threads" in numbers)


def test_the_blueprint_has_every_file_that_a_stage_depends_on(project):
    written = {f"data/blueprint/{name}" for name in files(project / layout.BLUEPRINT)}
    groups = {"open_control": "controls", "control": "controls", "coreset": "coresets"}
    for name, stage in DVC_YAML.items():
        for dep in stage["deps"]:
            if dep.startswith("data/blueprint"):
                arms, states = PARAMS[groups.get(name, "arms")], [str(link["next"]) for link in PARAMS["rescore"]]
                paths = {dep.replace("${item.arm}", arm).replace("${item.s.next}", n) for arm in arms for n in states}
                assert paths <= written


ZOO = params.read(ROOT / "studies/zoo/params.yaml")
# Scored after its last segment too, which is for the report alone.
ZOO["rescore"] = ZOO["chain"]


def due(study, arm):
    return {link["next"]: methods.experts_due(arm, link["next"]) for link in study["rescore"]}


@pytest.mark.deep
@pytest.mark.usefixtures("project")
def test_experts_are_trained_where_a_segment_follows_them_and_nowhere_else():
    """Two segments, scored after both: the second follows experts of state 1, none follows any of state 2."""
    blueprint.write(ZOO)
    assert [link["next"] for link in ZOO["rescore"]] == [1, 2]
    assert due(ZOO, "dasm-mtt") == {1: (True, ""), 2: (False, "no segment comes after this state")}
    assert due(ZOO, "dasm") == {1: (False, ""), 2: (False, "")}
    assert methods.experts_due("real", 0) == (True, "")
    blueprint.write(PARAMS)
    assert methods.experts_due("real", 0) == (False, "")


@pytest.mark.deep
def test_a_study_that_grows_trains_the_experts_of_its_last_state_and_no_others_again(project):
    with (project / "params.yaml").open("w") as file:
        YAML().dump(ZOO, file)
    blueprint.write(ZOO)
    plan.main(3)
    others = {name for name in concerned(project, params.read()) if not name.endswith("coreset.json")}
    assert others == {"arms/dasm-mtt/experts/2.json"}
    assert due(params.read(), "dasm-mtt")[2] == (True, "")


def test_a_wrapped_data_set_and_whatever_is_around_it_are_what_prepare_is_made_of(project):
    study = copy.deepcopy(PARAMS)
    study["data"] = {"name": "noisy", "of": {"name": "long_tailed", "of": study["data"]}}
    blueprint.write(study)
    made_of = json.loads((project / layout.BLUEPRINT / "data.json").read_text())["sources"]
    used = {"dasm/data/noisy.py", "dasm/data/long_tailed.py", "dasm/data/digits.py"}
    assert used <= set(made_of) and "dasm/data/mnist.py" not in made_of
    for file in sorted(used):
        (project / file).write_text((project / file).read_text() + "\nedited = True\n")
        assert concerned(project, study) == {"data.json"}, file
    study["data"]["of"]["of"]["test"] = 0.3
    assert concerned(project, study) == {"data.json"}


def test_which_labels_are_wrong_is_known_to_those_who_write_it_down_and_to_the_report():
    """No score, window, matching or benchmark can look."""
    knows = {
        name
        for name in {module_of(stage) for stage in DVC_YAML.values()}
        if Path("dasm/images/truth.py") in closure([f"pipeline.stages.{name}"], ROOT)
    }
    assert knows == {"prepare", "report"}
    readers = {path.name for path in (ROOT / "dasm").rglob("*.py") if "truth import" in path.read_text()}
    assert readers == {"prepare.py"}


def test_a_joint_prefix_is_due_where_it_is_benchmarked_and_at_the_end(project):
    """With a window or without; a segment of any other arm is part of all that follow."""
    study = copy.deepcopy(PARAMS)
    study["arms"].append("easy")
    study["benchmark"]["arms"].append("easy")
    study["method"]["easy"] = {"joint": True, "selection": {"first_window": "window"}}
    study["benchmark"]["states"] = [1]
    blueprint.write(study)
    last = len(study["chain"])
    assert last > 2
    states = range(1, last + 1)
    for arm, expected in {"idc": [1, last], "easy": [1, last], "sequential": [*states], "dasm": [*states]}.items():
        assert [state for state in states if methods.prefix_due(arm, state)] == expected
    before = files(project / layout.BLUEPRINT)
    study["benchmark"]["states"] = [1, 2]
    blueprint.write(study)
    after = files(project / layout.BLUEPRINT)
    changed = {f"arms/{arm}/prefix/2.json" for arm in ("idc", "easy")}
    assert {name for name in before if before[name] != after[name]} == changed


@pytest.mark.deep
@pytest.mark.usefixtures("project")
def test_a_state_that_nothing_comes_after_says_so_and_trains_nothing(monkeypatch):
    blueprint.write(ZOO)
    trained = []
    monkeypatch.setattr("pipeline.work.experts.run", lambda *state: trained.append(state))
    monkeypatch.setattr("pipeline.work.passed.params.read", lambda: ZOO)
    for arm, state in [("dasm-mtt", 1), ("dasm-mtt", 2), ("dasm", 1), ("real", 0)]:
        experts.main(arm, state)
    assert trained == [("dasm-mtt", 1), ("real", 0)]
    none = {
        arm: json.loads((layout.experts(arm, state) / "none.json").read_text())
        for arm, state in [("dasm-mtt", 2), ("dasm", 1)]
    }
    assert none == {
        "dasm-mtt": {"experts": 0, "because": "no segment comes after this state"},
        "dasm": {"experts": 0},
    }
    entry = json.loads((layout.LEDGER / "experts-dasm-mtt-2.json").read_text())
    assert (entry["seconds"], entry["threads"], entry["arm"]) == (0.0, ZOO["threads"], "dasm-mtt")


def test_a_plug_in_concerns_the_arms_that_use_it_and_no_other(project):
    replace(project / "dasm/windows/frontier.py", "width: float = 0.5", "width: float = 0.6")
    assert concerned(project) == {"arms/dasm/selection.json"}
    replace(project / "dasm/objectives/gradient.py", "inner_iterations: int = 100", "inner_iterations: int = 50")
    assert concerned(project) == {f"arms/{arm}/matching.json" for arm in ("dasm", "sequential", "idc")}
    replace(project / "dasm/networks/mlp.py", "width: int = 128", "width: int = 64")
    assert concerned(project) == {"benchmark.json"}
    replace(project / "dasm/coresets/mosaic.py", "return factor", "return factor + 0")
    assert concerned(project) == {"arms/mosaic/coreset.json"}


def test_a_new_or_unused_plug_in_and_words_concern_nobody(project):
    shutil.copy(project / "dasm/windows/all.py", project / "dasm/windows/unrelated.py")
    (project / "dasm/objectives/unrelated.py").write_text("")
    replace(project / "dasm/windows/all.py", "torch.ones", "1 * torch.ones")
    replace(project / "dasm/matching.py", '"""Optimise the pixels', '"""Optimize the pixels')
    replace(project / "dasm/train.py", "import torch\n", "import torch  # of course\n")
    assert concerned(project) == set()


def test_code_concerns_the_stages_that_import_it(project):
    replace(project / "dasm/evaluate.py", "must hold every class", "must hold each class")
    found = concerned(project)
    assert {"code/benchmark.json", "code/ceiling.json", "code/coreset.json", "benchmark.json"} <= found
    assert not {"code/distill.json", "code/score.json", "code/train.json", "code/prepare.json"} & found
    replace(project / "pipeline/reporting/report.css", "{", "{ ")
    assert concerned(project) == {"code/report.json"}


def test_the_report_is_made_of_the_templates_that_it_includes_and_of_no_other():
    """Cards, tables of root seeds and the page over all reports are written without it."""
    folder, used, todo = ROOT / "pipeline/reporting", {"report.html", "table.md"}, ["report.html", "table.md"]
    while todo:
        tree = Environment().parse((folder / todo.pop()).read_text())
        todo += (more := {*meta.find_referenced_templates(tree)} - used)
        used |= more
    found = {path.name for pattern in blueprint._TEMPLATES for path in folder.glob(pattern)}
    assert found == used


def test_how_parameters_are_checked_concerns_nobody_else(project):
    replace(project / "pipeline/study.py", "states must differ", "states must not repeat")
    assert concerned(project) == {"code/check.json"}


def test_an_option_of_one_arm_concerns_that_arm(project):
    study = {**PARAMS, "method": {**PARAMS["method"], "sequential": {"matching": {"factor": 2}}}}
    assert concerned(project, study) == {"arms/sequential/matching.json"}


def test_what_only_later_states_use_concerns_nobody_at_state_0(project):
    own = {f"arms/{arm}/evaluator.json" for arm in PARAMS["arms"]}
    for option, value, concerns in (
        ("steps", 7, own),
        ("start", "warm", own),
        ("order", "stagewise", own),
        ("images", "stored", own),
        ("teacher_steps", 7, own | {"teacher.json"}),
        ("networks", 1, own | {"teacher.json"}),
    ):
        assert concerned(project, {**PARAMS, "evaluator": {**PARAMS["evaluator"], option: value}}) == concerns, option
        blueprint.write(PARAMS)
    experts = {"trainer": PARAMS["matching"]["trainer"], "number": 2, "epochs": 3, "prefix_steps": 4}
    blueprint.write({**PARAMS, "experts": experts})
    assert concerned(project, {**PARAMS, "experts": {**experts, "prefix_steps": 5}}) == {"experts.json"}
    assert concerned(project, {**PARAMS, "experts": {**experts, "epochs": 5}}) == {"experts.json", "experts_real.json"}


def test_whether_an_arm_is_joint_concerns_that_arm(project):
    sizes = {f"arms/idc/prefix/{link['next']}.json" for link in PARAMS["chain"]}
    assert concerned(project, {**PARAMS, "method": {}}) == {"arms/idc/matching.json"} | sizes


def test_whether_an_arm_with_a_window_is_joint_concerns_that_arm_and_its_scores(project):
    window = {"selection": {"first_window": "window"}}
    apart = {**PARAMS, "method": {**PARAMS["method"], "dasm": window}}
    blueprint.write(apart)
    joint = {**PARAMS, "method": {**PARAMS["method"], "dasm": {**window, "joint": True}}}
    blocks = {f"arms/dasm/{block}.json" for block in ("matching", "evaluator", "selection")}
    sizes = {f"arms/dasm/prefix/{link['next']}.json" for link in PARAMS["chain"]}
    assert concerned(project, joint) == blocks | sizes


def test_the_size_of_a_segment_concerns_every_joint_prefix_that_holds_it(project):
    """Also where the prefix before came out as it was, because it ended early."""
    segment = {**PARAMS["segment"], "s1": {**PARAMS["segment"]["s1"], "iterations": 1}}
    assert concerned(project, {**PARAMS, "segment": segment}) == {f"arms/idc/prefix/{n}.json" for n in (2, 3)}


def test_a_set_that_is_made_once_depends_on_every_segment_from_the_first_state_on(project):
    """What grows is another set; how its images are dealt out is part of every prefix."""
    once = {**PARAMS, "method": {**PARAMS["method"], "idc": {"joint": "once"}}}
    blueprint.write(once)
    states = [link["next"] for link in PARAMS["chain"]]
    assert [state for state in states if methods.prefix_due("idc", state)] == [1]
    for name, value in (("ipc", 7), ("iterations", 1)):
        segment = {**PARAMS["segment"], "s2": {**PARAMS["segment"]["s2"], name: value}}
        sizes = {"arms/random/coreset.json", "arms/mosaic/coreset.json"} if name == "ipc" else set()
        assert concerned(project, {**once, "segment": segment}) == {"arms/idc/prefix/1.json"} | sizes
        blueprint.write(once)


def test_of_the_segments_a_coreset_knows_their_sizes_alone(project):
    coresets = {f"arms/{arm}/coreset.json" for arm in PARAMS["coresets"]}
    for option, concerns in (("iterations", set()), ("ipc", coresets)):
        segment = {**PARAMS["segment"], "s1": {**PARAMS["segment"]["s1"], option: 4}}
        assert {name for name in concerned(project, {**PARAMS, "segment": segment}) if "coreset" in name} == concerns
    numbers = DVC_YAML["coreset"]["params"]
    assert not {"segment", "chain"} & {*numbers} and reads("coreset", r"sets\.sizes")


def given(**arms) -> dict:
    """The default study with sets made elsewhere, each of a file of its own."""
    blocks = {arm: {"coreset": {"name": "given", "path": path}} for arm, path in arms.items()}
    benchmark = {**PARAMS["benchmark"], "arms": [*PARAMS["benchmark"]["arms"], *arms]}
    study = {"coresets": [*PARAMS["coresets"], *arms], "method": {**PARAMS["method"], **blocks}}
    return {**PARAMS, **study, "benchmark": benchmark}


def test_the_file_of_a_set_made_elsewhere_concerns_that_set(project):
    """`check` looks at all that lies in the folder; of those after it, the arm whose file it is runs again."""
    assert "data/sets" in DVC_YAML["check"]["deps"]
    assert [name for name, stage in DVC_YAML.items() if "data/sets" in str(stage)] == ["check"]
    study = given(datm="data/sets/datm.safetensors", mtt="data/sets/mtt.safetensors")
    (project / "data/sets").mkdir()
    for arm in ("datm", "mtt", "nobody"):
        (project / f"data/sets/{arm}.safetensors").write_bytes(arm.encode())
    blueprint.write(study)
    written, _ = walk.identities(stages(study, ROOT / "dvc.yaml"), study)
    (project / "data/sets/nobody.safetensors").write_bytes(b"else")
    assert concerned(project, study) == set()
    (project / "data/sets/datm.safetensors").write_bytes(b"mtad")
    assert concerned(project, study) == {"arms/datm/coreset.json"}
    said = json.loads((project / layout.BLUEPRINT / "arms/datm/coreset.json").read_text())
    assert list(said["files"]) == ["data/sets/datm.safetensors"] and said["sizes"] == [2, 3, 5]
    # A walk, which knows no DVC, goes by the blueprint.
    anew, _ = walk.identities(stages(study, ROOT / "dvc.yaml"), study)
    others = {"coreset@datm", "benchmark@datm-1", "benchmark@datm-2", "benchmark@datm-3", "diagnose", "report"}
    assert {name for name in written if anew[name] != written[name]} - {"check"} == others
    replace(project / "dasm/coresets/given.py", "labels_of(file", "(labels_of)(file")
    replace(project / "dasm/coresets/given.py", "_TOLERANCE = 0.01", "_TOLERANCE = 0.02")
    assert concerned(project, study) == {"arms/datm/coreset.json", "arms/mtt/coreset.json"}


@pytest.mark.parametrize(
    "path", ["sets/datm.safetensors", "data/sets/../datm.safetensors", "data/sets/more/datm.safetensors", "/x"]
)
@pytest.mark.usefixtures("project")
def test_a_set_where_dvc_does_not_look_is_refused(path):
    with pytest.raises(ConfigError) as caught:
        blueprint.write(given(datm=path))
    rule = f"path must be a file right in data/sets, got {path!r} (DVC looks for changes there)"
    assert str(caught.value) == f"method.datm.coreset: {rule}"


def test_a_set_that_is_not_there_is_refused(project):
    path = "data/sets/datm.safetensors"
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable file \(No such file or directory\)$"):
        blueprint.write(given(datm=path))
    (project / path).mkdir(parents=True)
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable file \(Is a directory\)$"):
        blueprint.write(given(datm=path))


def told(path: str, *, shared: bool = False) -> dict:
    """The default study, and an arm whose images are ranked by a file; or all of it is."""
    score = {"score": {"name": "given", "path": path}}
    if shared:
        return {**PARAMS, "selection": {**PARAMS["selection"], **score}}
    benchmark = {**PARAMS["benchmark"], "arms": ["dasm", "told", *PARAMS["benchmark"]["arms"][1:]]}
    study = {"arms": ["dasm", "told"], "method": {**PARAMS["method"], "told": {"selection": score}}}
    return {**PARAMS, **study, "benchmark": benchmark}


def test_the_file_of_scores_concerns_the_arms_that_go_by_it(project):
    (project / "data/sets").mkdir()
    for content in (b"one", b"another"):
        (project / "data/sets/scores.parquet").write_bytes(content)
        study = told("data/sets/scores.parquet")
        if content == b"one":
            blueprint.write(study)
        else:
            assert concerned(project, study) == {"arms/told/selection.json"}
    said = json.loads((project / layout.BLUEPRINT / "arms/told/selection.json").read_text())
    assert list(said["files"]) == ["data/sets/scores.parquet"]
    assert "files" not in json.loads((project / layout.BLUEPRINT / "arms/dasm/selection.json").read_text())
    blueprint.write(told("data/sets/scores.parquet", shared=True))
    (project / "data/sets/scores.parquet").write_bytes(b"one")
    assert concerned(project, told("data/sets/scores.parquet", shared=True)) == {"arms/dasm/selection.json"}


@pytest.mark.parametrize(("shared", "where"), [(True, "selection.score"), (False, "method.told.selection.score")])
@pytest.mark.usefixtures("project")
def test_scores_where_dvc_does_not_look_are_refused(shared, where):
    with pytest.raises(ConfigError) as caught:
        blueprint.write(told("scores.parquet", shared=shared))
    rule = "path must be a file right in data/sets, got 'scores.parquet' (DVC looks for changes there)"
    assert str(caught.value) == f"{where}: {rule}"


def test_a_set_made_elsewhere_starts_from_no_real_image():
    study = given(datm="data/sets/datm.safetensors")
    assert [need["who"] for need in needs(parse(study), study)][-2:] == ["coreset random", "coreset mosaic"]


def test_a_study_that_grows_concerns_nobody_but_coresets(project):
    """Not even the benchmark: how the earlier prefixes are judged is as before. A coreset is picked as a whole."""
    shutil.copy(ROOT / "params.yaml", project / "params.yaml")
    plan.main(len(PARAMS["chain"]) + 2)
    assert concerned(project, params.read()) == {f"arms/{arm}/coreset.json" for arm in PARAMS["coresets"]}


@pytest.mark.parametrize("name", DVC_YAML)
def test_a_stage_says_what_it_is_and_where_it_runs(name):
    assert DVC_YAML[name]["desc"]
    assert DVC_YAML[name]["meta"]["device"] in ("cpu", "gpu")


def test_every_stage_module_is_in_the_graph():
    used = {module_of(stage) for stage in DVC_YAML.values()}
    assert used == {file.stem for file in (ROOT / "pipeline/stages").glob("[!_]*.py")}


def test_chain_and_segments_agree_in_every_study():
    for file in [ROOT / "params.yaml", *ROOT.glob("studies/*/params.yaml")]:
        study = params.read(file)
        assert [link["k"] for link in study["chain"]] == list(range(len(study["chain"])))
        assert sorted(study["segment"]) == [f"s{k}" for k in range(len(study["chain"]))]


def test_distilling_depends_on_its_own_segment_only():
    for name in ("distill", "control"):
        assert "segment.s${item.s.k}" in DVC_YAML[name]["params"]
        assert not any(p in ("segment", "chain", "arms") for p in DVC_YAML[name]["params"])


def test_the_chain_is_in_the_graph_that_dvc_sees():
    dot = subprocess.run(
        [sys.executable, "-m", "dvc", "dag", "--dot"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    edges = set(re.findall(r'"([^"]+)" -> "([^"]+)"', dot))
    for k in range(len(PARAMS["chain"])):
        rescored = {"k": k, "next": k + 1} in PARAMS["rescore"]
        assert ((f"distill@dasm-s{k}", f"train@dasm-s{k}") in edges) == rescored
        assert ((f"train@dasm-s{k}", f"score@dasm-s{k}") in edges) == rescored
        assert (f"distill@dasm-s{k}", f"benchmark@dasm-{k + 1}") in edges
        if k:
            assert (f"score@dasm-s{k - 1}", f"distill@dasm-s{k}") in edges
            assert (f"distill@dasm-s{k - 1}", f"distill@dasm-s{k}") in edges
    assert ("begin@dasm", "distill@dasm-s0") in edges
    assert ("teacher", "begin@dasm") in edges
    assert ("check", "prepare") in edges


def test_no_path_of_the_shared_folder_or_of_a_machine_in_the_study():
    for file in [Path("params.yaml"), Path("dvc.yaml"), *Path("studies").glob("*/params.yaml")]:
        assert "shared" not in (ROOT / file).read_text()


def test_no_stage_depends_on_what_the_blueprint_says_of_the_study_as_a_whole():
    assert not [stage.name for stage in stages(PARAMS) if "data/blueprint/study.json" in stage.deps]


def test_a_blueprint_is_json_with_options_and_sources(project):
    for name, text in files(project / layout.BLUEPRINT).items():
        if name in ("needs.json", "networks.json"):  # of which no stage is made
            continue
        content = json.loads(text)
        assert content["sources"] or content["options"] is None, name
        assert ("options" in content) == (not name.startswith("code/"))
