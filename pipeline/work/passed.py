"""What a stage leaves that has nothing to do, written without the seconds that torch takes to import."""

import json
import os
import shutil
from collections.abc import Mapping

from dasm.storage.files import write_json
from pipeline import layout, methods, params


def experts(arm: str, k: int, because: str) -> None:
    """Write the folder of experts that nobody follows."""
    reason = {"because": because} if because else {}
    write_json(layout.experts(arm, k) / "none.json", {"experts": 0, **reason})
    _cost("experts", f"experts-{arm}-{k}", "" if arm == "real" else arm)


def evaluators(arm: str, state: int) -> None:
    """Write the folder of evaluators that nobody asks: a joint arm is never scored again."""
    write_json(layout.evaluators(arm, state) / "none.json", {"networks": 0})
    _cost("train", f"train-{arm}-{state}", arm)


def difficulty(arm: str, state: int) -> None:
    """Write the table of state 0 again: every set of a joint arm has its window."""
    path = layout.difficulty(arm, state)
    shutil.copyfile(layout.difficulty(arm, 0), path)
    _cost("score", f"score-{arm}-{state}", arm)


def prefix(stage: str, arm: str, k: int, plan: Mapping[str, int]) -> None:
    """Write the state after segment k of a joint arm without its images: the size and effort planned for it."""
    summary = {"segments": 0, "images_per_class": plan["ipc"], "iterations": plan["iterations"]}
    write_json(layout.distilled(arm, k + 1) / "state.json", summary)
    _cost(stage, f"{stage}-{arm}-{k}", arm)


def piece(stage: str, arm: str, k: int) -> None:
    """Write the state that holds one piece more of a set that was distilled at once: what lay ahead, byte for byte."""
    before, after = layout.distilled(arm, k), layout.distilled(arm, k + 1)
    shutil.copytree(before, after, dirs_exist_ok=True)
    ahead = after / layout.AHEAD
    (ahead / f"s{k}.parquet").rename(after / f"s{k}.parquet")
    if not any(ahead.iterdir()):
        ahead.rmdir()
    summary = json.loads((before / "state.json").read_text())
    ipc = summary["images_per_class"] + methods.plan(params.read(), arm, k)["ipc"]
    write_json(after / "state.json", {**summary, "segments": k + 1, "images_per_class": ipc})
    _cost(stage, f"{stage}-{arm}-{k}", arm)


def labeller() -> None:
    """Write the folder of the network that labels every set, in a study whose sets keep labels of their own."""
    write_json(layout.LABELLER / "none.json", {"networks": 0})
    _cost("labeller", "labeller", "")


def _cost(stage: str, name: str, arm: str) -> None:
    """Write the entry that `runtime.ledger` would write, and that nothing was done: no run that the report counts."""
    nothing = dict.fromkeys(
        ("seconds", "earlier_seconds", "forward_images", "backward_images", "flops", "peak_memory_mb"), 0
    )
    threads = params.value(params.read(), "threads")
    named = os.environ.get("DVC_STAGE", name)
    entry = {"stage": stage, "name": named, "arm": arm, "device": "cpu", "threads": threads, **nothing, "passed": True}
    write_json(layout.LEDGER / f"{name}.json", entry)
