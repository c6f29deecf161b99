"""The network that labels every set of the benchmark, where the protocol wants that."""

from collections.abc import Mapping
from typing import Any

from dasm.evaluate import Protocol, accuracy, teach
from dasm.images.store import read_task
from dasm.networks import Classifier, Network
from dasm.storage.networks import read_networks, write_networks
from dasm.types import LabelledImages
from pipeline import layout, params
from pipeline.work import runtime
from pipeline.work.fitting import fitting


def train() -> None:
    """Make `data/labeller`: a network of the architecture that sets are distilled with, trained on all real images."""
    study, device = runtime.start()
    protocol = params.section(study, Protocol, "benchmark.protocol")
    with runtime.ledger("labeller", "labeller"):
        task = read_task(layout.REAL, device)
        teacher = teach(protocol, _network(study, task.train), task, params.value(study, "seed"))
        write_networks(layout.LABELLER, [[teacher]])
    runtime.log.info(
        "labels: their teacher has %.1f %% of the validation images right", 100 * accuracy(teacher, task.validation)
    )


def read(study: Mapping[str, Any], real: LabelledImages) -> Classifier | None:
    """Return that network, on the device of the real images; None in a study whose sets keep labels of their own."""
    protocol = params.section(study, Protocol, "benchmark.protocol")
    if protocol.labels != "teacher":
        return None
    network = _network(study, real)
    ((teacher,),) = read_networks(layout.LABELLER, lambda: network.build(real.image_shape, real.num_classes, 0), 1, 1)
    teacher.precision = protocol.recipe.precision
    return teacher.to(real.labels.device)


def _network(study: Mapping[str, Any], real: LabelledImages) -> Network:
    options = params.value(study, "benchmark.networks")[0]
    return fitting(options, "benchmark.networks[0]", real.image_shape, real.num_classes)
