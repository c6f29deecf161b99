"""Peak memory of one iteration of `mtt` with 10 and with 80 student steps: ConvNet-3, width 128, 32 x 32 pixels.

Each measurement is a process of its own. Beside the peak resident set and its ratio it prints what the steps after the
first add to the peak, so that torch's own hundreds of megabytes hide nothing. `constant` keeps twice the root of the
number of steps in vectors of weights (1.28 MB each here) and one graph; `full` keeps a graph per step and needs
gigabytes.

python benchmarks/trajectory_memory.py [constant] [full]
"""

import multiprocessing
import resource
import sys

import torch

from dasm.networks.convnet import ConvNet
from dasm.objective_parts.batches import RealBatches, SyntheticBatches
from dasm.objectives import Surroundings
from dasm.objectives.mtt import MTT
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages

CLASSES, PER_CLASS, BATCH = 10, 1, 10
STEPS = (10, 80)


def resident() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(unroll: str, steps: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    trainer = Trainer(network=ConvNet(width=128, depth=3), recipe=Recipe())
    data = LabelledImages(
        images=torch.rand(CLASSES, 3, 32, 32),
        labels=torch.arange(CLASSES),
        class_names=tuple(map(str, range(CLASSES))),
        mean=torch.full((3,), 0.5),
        std=torch.full((3,), 0.25),
    )
    size = sum(p.numel() for p in trainer.network.build((3, 32, 32), CLASSES, 0).parameters())
    experts = [0.02 * torch.randn(2, size)]
    pixels = [torch.rand(PER_CLASS, 3, 32, 32).requires_grad_() for _ in range(CLASSES)]
    synthetic = SyntheticBatches(pixels=pixels, factor=1, mean=data.mean, std=data.std, stream=0)
    real = RealBatches(data=data, weights=torch.ones(CLASSES), stream=0)

    def iterate(count: int) -> None:
        objective = MTT(student_steps=count, expert_epochs=1, max_start_epoch=1, synthetic_batch=BATCH, unroll=unroll)
        state = objective.prepare(data, trainer, 0, Surroundings(experts=experts))
        for distance in objective.distances(state, real, synthetic, 0, 0):
            torch.autograd.grad(distance, pixels)

    iterate(1)  # what a single step needs is there whatever their number
    before = resident()
    iterate(steps)
    return resident(), resident() - before


def main(*unrolls: str) -> None:
    pool = multiprocessing.get_context("spawn").Pool
    for unroll in unrolls or ("constant",):
        with pool(1, maxtasksperchild=1) as worker:
            found = [worker.apply(measure, (unroll, steps)) for steps in STEPS]
        for steps, (peak, added) in zip(STEPS, found, strict=True):
            print(f"{unroll}, {steps} steps: peak {peak:.0f} MB, of which the steps after the first {added:.0f} MB")
        print(f"{unroll}: ratio of peaks {found[1][0] / found[0][0]:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
