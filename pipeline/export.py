"""`python -m pipeline export ARM FOLDER [IPC]`: a distilled set for somebody else, with a card that says what it is."""

import hashlib
import json
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from dasm.distilled import DistilledSet
from dasm.errors import ConfigError, require
from dasm.export import draft, export
from dasm.loading import load
from dasm.matching import Matching
from dasm.tables import segment_files
from pipeline import card, layout, methods, params
from pipeline.graph import sets
from pipeline.work import recipes

_SUMS = "SHA256SUMS"


def main(arm: str, folder: str, ipc: str | None = None) -> None:
    """Write a set as Parquet, safetensors and PNG, with a dataset card and the hash of every file.

    Args:
        arm: whose set.
        folder: a new or an empty one.
        ipc: stored images per class of the prefix wanted; the whole set by default.

    Raises:
        ConfigError: no such arm or prefix, a folder that is in use, or artefacts that params.yaml does not describe.
    """
    study = params.read()
    state = _state(study, arm, ipc)
    source = layout.distilled(arm, state)
    if not source.is_dir():
        raise ConfigError(f"{source}: must exist, got no such folder (`dvc repro` makes it)")
    if not segment_files(source):
        raise ConfigError(
            f"{source}: must hold segments, got none ({arm} is joint: name the prefix in benchmark.states)"
        )
    distilled = load(source)
    _check_recipe(study, arm, state, distilled)
    with draft(Path(folder)) as new:
        export(new, distilled)
        hashes = {str(file.relative_to(new)): _sha256(file) for file in sorted(new.rglob("*")) if file.is_file()}
        (new / "README.md").write_text(card.write(study, arm, state, distilled, hashes), encoding="utf-8")
        # Without the card, which whoever hands the set on may add to: a licence, say.
        (new / _SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in hashes.items()), encoding="utf-8")
    images = sum(len(segment.labels) for segment in distilled.segments)
    print(f"{folder}: {images} images, {distilled.sizes[-1]} per class, {len(hashes) + 2} files")


def _state(study: Mapping[str, Any], arm: str, ipc: str | None) -> int:
    """Return the number of segments of the prefix wanted."""
    arms = [name for group in methods.BLOCKS for name in params.value(study, group)]
    if arm not in arms:
        raise ConfigError(f"export: no arm called {arm!r} (have {', '.join(arms)})")
    plans = [params.value(study, f"segment.s{link['k']}") for link in params.value(study, "chain")]
    sizes = [str(size) for size in accumulate(plan["ipc"] for plan in plans)]
    if ipc is None:
        return len(sizes)
    require(ipc in sizes, f"export: images per class must be one of {', '.join(sizes)} (whole segments)", ipc)
    return sizes.index(ipc) + 1


def _check_recipe(study: Mapping[str, Any], arm: str, state: int, distilled: DistilledSet) -> None:
    """Refuse a set that was not made with the parameters in force: the card would say what is not true."""
    hint = "`dvc repro` makes it again"
    for segment, recorded, expected in zip(
        distilled.segments, distilled.provenance, _recipes(study, arm, state), strict=True
    ):
        differ = sorted(key for key in expected if expected[key] != recorded["recipe"].get(key))
        where = layout.distilled(arm, state) / f"s{segment.index}.parquet"
        require(not differ, f"{where}: must be made with what params.yaml says", f"another {', '.join(differ)}", hint)
    for group, blocks in methods.BLOCKS.items():
        for block in blocks if arm in study[group] else ():
            path = layout.BLUEPRINT / f"arms/{arm}/{block}.json"
            same = path.exists() and json.loads(path.read_text())["options"] == methods.block(study, arm, block)
            require(same, f"{path}: must be what params.yaml says", "something else", hint)


def _recipes(study: Mapping[str, Any], arm: str, state: int) -> list[dict[str, Any]]:
    plans = [methods.distilled_plan(study, arm, k) for k in range(state)]
    if arm in study["coresets"]:
        files = sets.recorded(arm, "coreset")
        return [recipes.picked(study, arm, plan["ipc"]) | files for plan in plans]
    follows = methods.section(study, arm, "matching", Matching).objective.needs_experts
    joint = methods.is_joint(study, arm)
    if joint and not methods.is_once(study, arm):
        plans = plans[-1:]
    followed = [recipes.followed(study, first=joint or k == 0) if follows else None for k in range(len(plans))]
    return [
        recipes.distilled(study, arm, plan["ipc"], plan["iterations"], experts=experts)
        for plan, experts in zip(plans, followed, strict=True)
    ]


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
