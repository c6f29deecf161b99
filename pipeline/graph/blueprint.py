"""What every part of a study is made of: its options and the source files behind them, one small file each.

`check` writes them to `data/blueprint`; the other stages depend on the files of their own parts. Templates in dvc.yaml
cannot look up the objective of an arm and then the file of that objective; a file per arm and block says both.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dasm.coresets import Coreset
from dasm.evaluators import Evaluators
from dasm.matching import Matching
from dasm.plugins import modules_of
from dasm.selection import Selection
from pipeline import layout, methods
from pipeline.graph import sets, steady
from pipeline.graph.needs import needs
from pipeline.graph.networks import networks
from pipeline.graph.sources import closure, digests
from pipeline.study import KINDS, Study, parse

# Of the report; no Python, so no import leads to them.
_TEMPLATES = (
    "report.css",
    "report.html",
    "accuracy.html",
    "cost.html",
    "diagnosis.html",
    "difficulty.html",
    "macros.html",
    "ranking.html",
    "segments.html",
    "table.md",
    "means.md",
    "ranking.md",
)


def write(study: Mapping[str, Any], folder: Path = layout.BLUEPRINT) -> dict[str, str]:
    """Check a study and write its blueprint: `code/<stage>`, the shared blocks, and `arms/<arm>/<block>`.

    `teacher` and `experts_real` are the shared blocks `evaluator` and `experts` without what only later states use.

    `arms/<arm>/experts/<n>` says of a scored arm whether the experts of state n have to be trained, and
    `arms/<arm>/prefix/<n>` whether it has to be distilled, and of a joint one how large it is; a file per
    state, so that a study that grows makes what it did without before, and nothing else again. (A joint prefix that is
    benchmarked only now is made with all later ones: DVC sees that the state before theirs has changed.)

    `arms/<arm>/coreset` says how many images of a class each segment takes, and nothing else of segments; and of a set
    that is read from files, what these hold. So does `arms/<arm>/selection` of a score.

    `needs` says how many real images of a class each arm starts from, and `networks` which networks see them.

    Returns:
        The digest of every source file in it, by path.

    Raises:
        ConfigError: anything wrong with the study.
    """
    whole = parse(study)
    parts: dict[str, Any] = {}
    for name in ("data", "experts", "benchmark"):
        parts[name] = _part(getattr(whole, name), _options(study, name))
    for block, first in (("evaluator", "teacher"), ("experts", "experts_real")):
        parts[first] = _part(getattr(whole, block), methods.at_first(block, study[block]))
    shared = False
    for group, blocks in methods.BLOCKS.items():
        for arm in study[group]:
            for block in blocks:
                built: object = methods.section(study, arm, block, KINDS[block])
                parts[f"arms/{arm}/{block}"] = _part(built, methods.block(study, arm, block))
                where = methods.place(study, arm, block)
                if isinstance(built, Coreset):
                    parts[f"arms/{arm}/coreset"] |= {"sizes": sets.sizes(study), **sets.said(where, built)}
                if isinstance(built, Selection):
                    parts[f"arms/{arm}/selection"] |= sets.said(f"{where}.score", built.score)
                if isinstance(built, Matching):
                    follows = built.objective.needs_experts
                    shared |= follows
                    parts[f"arms/{arm}/matching"] |= {
                        "joint": methods.joint(study, arm),
                        "effort": methods.effort(study, arm),
                    }
                    parts |= _prefixes(whole, study, arm)
                    parts |= _experts(whole, study, arm, follows) if group == "arms" else {}
                if isinstance(built, Selection | Evaluators) and methods.is_joint(study, arm):
                    parts[f"arms/{arm}/{block}"] |= {"joint": True}  # its window is never another
    for name in ("experts", "experts_real"):
        parts[name]["experts"] = shared
    parts |= {"needs": needs(whole, study), "networks": networks(whole, study)}
    parts[steady.NAME] = steady.said(study)
    for file in sorted(Path("pipeline/stages").glob("[!_]*.py")):
        parts[f"code/{file.stem}"] = {"sources": _stage(file)}
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    for name, content in parts.items():
        path = temporary / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
    return {path: said for part in parts.values() if "sources" in part for path, said in part["sources"].items()}


def _experts(whole: Study, study: Mapping[str, Any], arm: str, follows: bool) -> dict[str, dict[str, Any]]:
    parts = {}
    for link in whole.rescore:
        why = "no segment comes after this state" if link.next == len(whole.chain) else ""
        if methods.is_joint(study, arm):
            why = "a joint set follows those of first segments"
        because = {"because": why} if follows and why else {}
        parts[f"arms/{arm}/experts/{link.next}"] = {**_part(None, None), "experts": follows and not why, **because}
    return parts


def _prefixes(whole: Study, study: Mapping[str, Any], arm: str) -> dict[str, dict[str, Any]]:
    # A segment is part of all that follow; a joint prefix is part of nothing, unless all are cut from one set.
    wanted = {*whole.benchmark.states, len(whole.chain)}
    joint, parts = methods.is_joint(study, arm), {}
    for link in whole.chain:
        # A joint prefix is as large as all its segments together, whatever shorter ones came to.
        size: dict[str, Any] = {"plan": methods.distilled_plan(study, arm, link.k)} if joint else {}
        due = link.next in wanted or not joint
        if methods.is_once(study, arm):
            due = link == whole.chain[0]
            size = size | {"cut": sets.sizes(study)} if due else {}
        parts[f"arms/{arm}/prefix/{link.next}"] = {**_part(None, None), "due": due, **size}
    return parts


def _options(study: Mapping[str, Any], name: str) -> object:
    if name != "benchmark":
        return study[name]
    # Whom and which prefixes it judges is no part of how: a study that grows judges again only what is new.
    return {key: study[name][key] for key in ("networks", "protocol")}


def _part(built: object, options: object) -> dict[str, Any]:
    # What the pipeline does with it is in the code of the stages; its own types only check.
    return {"options": options, "sources": digests(closure(modules_of(built), packages=("dasm",)))}


def _stage(file: Path) -> dict[str, str]:
    files = closure([".".join(file.with_suffix("").parts)])
    if file.stem == "report":
        files |= {path for pattern in _TEMPLATES for path in Path("pipeline/reporting").glob(pattern)}
    return digests(files)
