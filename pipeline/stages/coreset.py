"""Pick the real images of a coreset, or read those of a given one, in the same segments as the distilled sets."""

from dasm.coresets import Coreset, Guide
from dasm.evaluate import Protocol, judge
from dasm.evaluators import Evaluators
from dasm.images.store import read_task
from dasm.readings import Reading
from pipeline import layout, methods, params
from pipeline.graph import sets
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
        factor = params.value(study, "matching.factor")
        made = list(coreset.segments(real, sets.sizes(study), factor=factor, seed=seed, guide=guide))
        files, before, chain = sets.settled(arm, "coreset", coreset), None, None
        for segment in made:
            folder = layout.distilled(arm, segment.index + 1)
            recipe = recipes.picked(study, arm, segment.ipc) | files
            chain = write_state(folder, before, segment, real, arm=arm, recipe=recipe, chain=chain)
            before = folder
