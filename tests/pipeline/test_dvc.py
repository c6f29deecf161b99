"""dvc.yaml says what the code says: dependencies against the import graph, chain and segments, plug-ins by file."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline import params
from tests.graph import ROOT, sources

DVC_YAML = YAML(typ="safe", pure=True).load(ROOT / "dvc.yaml")["stages"]
PARAMS = params.read(ROOT / "params.yaml")
TEMPLATE = re.compile(r"\$\{([^}]+)\}")


def module_of(stage: dict) -> str:
    """The module that a stage's command starts."""
    return f"pipeline.stages.{stage['cmd'].split()[3]}"


def code(stage: dict) -> list[str]:
    return [dep for dep in stage["deps"] if dep.endswith(".py")] if "deps" in stage else []


def resolve(template: str) -> list[str]:
    """The files a templated dependency stands for; an arm's name stands for those of its group."""

    def value(match: re.Match) -> str:
        found = PARAMS
        for key in re.findall(r"[^.\[\]]+", match[1]):
            found = found[int(key)] if isinstance(found, list) else found[key]
        return str(found)

    if "${item.arm}" in template:
        return [template.replace("${item.arm}", arm) for arm in PARAMS["coresets"]]
    return [TEMPLATE.sub(value, template)]


@pytest.mark.parametrize("name", DVC_YAML)
def test_a_stage_depends_on_exactly_the_modules_it_imports(name):
    stage = DVC_YAML[name]
    fixed = {dep for dep in code(stage) if "$" not in dep}
    plugins = {file for dep in code(stage) if "$" in dep for file in resolve(dep)}
    needed = sources(module_of(stage))
    for plugin in plugins:
        assert (ROOT / plugin).is_file(), plugin
        needed |= sources(plugin.removesuffix(".py").replace("/", ".")) - {plugin}
    assert fixed == needed - plugins


@pytest.mark.parametrize("name", DVC_YAML)
def test_plug_ins_are_named_by_file_and_never_by_folder(name):
    kinds = ("data", "networks", "scores", "windows", "objectives", "coresets")
    for dep in DVC_YAML[name].get("deps", []):
        assert dep.rstrip("/") not in {"dasm", "pipeline", *(f"dasm/{kind}" for kind in kinds)}
        for kind in kinds:
            if re.fullmatch(rf"dasm/{kind}/(?!__init__).*", dep):
                assert "$" in dep, f"{dep} is named whether it is in use or not"


@pytest.mark.parametrize("name", DVC_YAML)
def test_a_stage_says_what_it_is_and_where_it_runs(name):
    assert DVC_YAML[name]["desc"]
    assert DVC_YAML[name]["meta"]["device"] in ("cpu", "gpu")


def test_every_stage_module_is_in_the_graph():
    used = {module_of(stage).split(".")[-1] for stage in DVC_YAML.values()}
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
        assert (f"distill@dasm-s{k}", f"train@dasm-s{k}") in edges
        assert (f"train@dasm-s{k}", f"score@dasm-s{k}") in edges
        assert (f"distill@dasm-s{k}", f"benchmark@dasm-s{k}") in edges
        if k:
            assert (f"score@dasm-s{k - 1}", f"distill@dasm-s{k}") in edges
            assert (f"distill@dasm-s{k - 1}", f"distill@dasm-s{k}") in edges
    assert ("begin@dasm", "distill@dasm-s0") in edges
    assert ("teacher", "begin@dasm") in edges
    assert ("check", "prepare") in edges


def test_no_path_of_the_shared_folder_or_of_a_machine_in_the_study():
    for file in [Path("params.yaml"), Path("dvc.yaml"), *Path("studies").glob("*/params.yaml")]:
        assert "shared" not in (ROOT / file).read_text()
