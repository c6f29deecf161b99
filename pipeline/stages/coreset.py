"""Pick the real images of a coreset, in the same segments as the distilled sets."""

import torch

from dasm.coresets import Coreset, Guide
from dasm.evaluate import Protocol, judge
from dasm.evaluators import Evaluators
from dasm.formation import decoded_count, mosaic
from dasm.images.store import read_task
from dasm.readings import Reading
from dasm.segments import freeze, stored_segment
from pipeline import layout, methods, params
from pipeline.work import recipes, runtime
from pipeline.work.fitting import fitting
from pipeline.work.networks import read_networks
from pipeline.work.states import write_state


def main(arm: str) -> None:
    """Make `data/distilled/<arm>/<n>` for every n."""
    study, device = runtime.start()
    coreset = methods.section(study, arm, "coreset", Coreset)
    evaluators = params.section(study, Evaluators, "evaluator")
    # Of the benchmark no more than it guides by: a rule about the rest of it is no reason to pick again.
    protocol = params.section(study, Protocol, "benchmark.protocol")
    seed = params.value(study, "seed")
    with runtime.ledger("coreset", f"coreset-{arm}", arm=arm):
        task = read_task(layout.REAL, device)
        real = task.train
        options = params.value(study, "benchmark.networks")[0]
        network = fitting(options, "benchmark.networks[0]", real.image_shape, real.num_classes)
        teachers = read_networks(layout.TEACHERS, evaluators, real)
        guide = Guide(
            readings=[[Reading(snapshot, real) for snapshot in snapshots] for snapshots in teachers],
            judge=judge(protocol, network, task, seed),
        )
        factor = coreset.tiles(params.value(study, "matching.factor"))
        sizes = [params.value(study, f"segment.s{item['k']}.ipc") for item in params.value(study, "chain")]
        sources = coreset(real, decoded_count(sum(sizes), factor), seed, guide)
        before, taken = None, 0
        for k, ipc in enumerate(sizes):
            chosen = sources[:, taken : taken + decoded_count(ipc, factor)]
            images = torch.cat([mosaic(real.pixels(row.to(device)), factor) for row in chosen])
            segment = stored_segment(
                freeze(images).cpu(), chosen, index=k, factor=factor, lower=0.0, upper=1.0, iterations=0
            )
            folder = layout.distilled(arm, k + 1)
            write_state(folder, before, segment, real, arm=arm, recipe=recipes.picked(study, arm, ipc))
            before, taken = folder, taken + decoded_count(ipc, factor)
