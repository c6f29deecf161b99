"""What the benchmark of a prefix and that of the full set have in common."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import dasm
from dasm.evaluate import Protocol, evaluate
from dasm.machine.counts import Counts, counting
from dasm.networks import Classifier, Network
from dasm.plugins import build
from dasm.storage.results import write_results
from dasm.types import LabelledImages, Task
from pipeline import params
from pipeline.work import runtime
from pipeline.work.fitting import fitting


def judges(study: dict[str, Any]) -> list[object]:
    """Return what judges sets: the protocol, and the networks."""
    networks = enumerate(params.value(study, "benchmark.networks"))
    built = [build(Network, each, f"benchmark.networks[{i}]") for i, each in networks]  # type: ignore[type-abstract]
    return [params.section(study, Protocol, "benchmark.protocol"), *built]


def judge(
    study: dict[str, Any],
    path: Path,
    parts: Sequence[LabelledImages],
    task: Task,
    identity: dict[str, Any],
    teacher: Classifier | None,
) -> None:
    """Train every network of the benchmark on a set, given segment by segment, and write a row for each.

    The teacher is what `labelling.read` says: whoever labels all sets, if anybody does.
    """
    protocol = params.section(study, Protocol, "benchmark.protocol")
    networks = params.value(study, "benchmark.networks")
    results, costs = {}, {}
    shape, classes = task.train.image_shape, task.train.num_classes
    built = [fitting(each, f"benchmark.networks[{i}]", shape, classes) for i, each in enumerate(networks)]
    for options, network in zip(networks, built, strict=True):
        name = options["name"]
        costs[name] = Counts()
        with counting(costs[name]):
            results[name] = evaluate(protocol, network, parts, task, params.value(study, "seed"), teacher)
        mean = sum(result.validation for result in results[name]) / protocol.seeds
        runtime.log.info("%s on %s: validation accuracy %.1f %%", name, identity["arm"], 100 * mean)
    identity = {
        **identity,
        "training_images": sum(map(len, parts)),
        "params_hash": params.digest(study["seed"], networks, study["benchmark"]["protocol"]),
        "code_version": dasm.__version__,
        "torch_version": torch.__version__,
        "device": task.train.labels.device.type,
    }
    write_results(path, results, costs, identity, {"arm": identity["arm"]})
