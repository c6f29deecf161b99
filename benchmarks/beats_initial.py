"""Do `gradient` (IDC), `dm` and `mtt` beat the images they start from? A folder in the Parquet convention, in small.

    python benchmarks/beats_initial.py data/cifar10

Joint, 10 images per class, no tiles, a ConvNet of depth 3 and width 32, few iterations: minutes on one core, far
from the papers' settings. Accuracy is on validation images, mean and deviation over 5 networks that start alike.
"""

import sys
import time
from pathlib import Path
from statistics import mean, stdev

import torch

from dasm import rng
from dasm.data.parquet import Parquet
from dasm.evaluate import accuracy
from dasm.experts import Experts
from dasm.machine.memory import keep_freed_memory
from dasm.matching import Matching
from dasm.networks.convnet import ConvNet
from dasm.objectives import Objective
from dasm.objectives.dm import DM
from dasm.objectives.gradient import Gradient
from dasm.objectives.mtt import MTT
from dasm.segments import SegmentPlan, decoded, distil_segment
from dasm.storage.files import write_json
from dasm.train import Recipe, Trainer
from dasm.types import Task

IPC, SEEDS, STEPS = 10, 5, 300
NETWORK = ConvNet(width=32, depth=3)
EVERY = ("flip", "color", "crop", "scale", "rotate")
JUDGE = Trainer(network=NETWORK, recipe=Recipe(learning_rate=0.05, augmentation=EVERY))
PLAIN = Recipe(
    batch_size=256, learning_rate=0.05, momentum=0.0, weight_decay=0.0, decay_at=(), augmentation=EVERY, cutmix=0.0
)
EXPERTS = Experts(trainer=Trainer(network=NETWORK, recipe=PLAIN), number=1, epochs=3, prefix_steps=0)
MATCHED = Trainer(network=NETWORK, recipe=Recipe())
CASES: dict[str, tuple[Objective, Trainer, float, int]] = {
    "gradient": (Gradient(network_images=256, inner_iterations=20), MATCHED, 0.2, 60),
    "dm": (DM(real_batch=128), MATCHED, 1.0, 150),
    "mtt": (
        MTT(student_steps=10, expert_epochs=1, max_start_epoch=2, step_size=0.05, step_size_rate=1e-4),
        EXPERTS.trainer,
        300.0,
        40,
    ),
}


def main() -> None:
    """Print a line per objective and write benchmarks/results/beats_initial.json."""
    keep_freed_memory()
    torch.set_num_threads(1)
    task = Parquet(root=sys.argv[1]).load(seed=0)
    picked = sys.argv[2:] or [*CASES]
    everyone, found = torch.ones(len(task.train)), {}
    for name in picked:
        objective, trainer, rate, iterations = CASES[name]
        start = time.process_time()
        experts = [*EXPERTS.train(task.train, everyone, 0, 0)] if objective.needs_experts else ()
        matching = Matching(objective=objective, trainer=trainer, factor=1, learning_rate=rate)
        before, after = (
            _judged(matching, SegmentPlan(ipc=IPC, iterations=count), task, everyone, experts)
            for count in (0, iterations)
        )
        better = mean(after) - mean(before)
        found[name] = {"initial": before, "distilled": after, "cpu_seconds": round(time.process_time() - start)}
        print(
            f"{name}: {mean(before):.1f} ± {stdev(before):.1f} -> {mean(after):.1f} ± {stdev(after):.1f}, "
            f"{better / max(stdev(before), stdev(after)):+.1f} standard deviations, {found[name]['cpu_seconds']} s",
            flush=True,
        )
    path = Path(__file__).parent / "results" / f"beats_initial-{'-'.join(picked)}.json"
    write_json(path, found)


def _judged(matching: Matching, plan: SegmentPlan, task: Task, everyone: torch.Tensor, experts: object) -> list[float]:
    segment, _ = distil_segment(
        matching,
        plan,
        task.train,
        (),
        weights=everyone,
        rank=None,
        planned_ipc=IPC,
        seed=0,
        experts=experts,  # type: ignore[arg-type]
    )
    data = decoded([segment], task.train)
    networks = [JUDGE.train(data, STEPS, rng.derive(0, "judge", seed))[0] for seed in range(SEEDS)]
    return [100 * accuracy(network, task.validation) for network in networks]


if __name__ == "__main__":
    main()
