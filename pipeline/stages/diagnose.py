"""What every benchmarked prefix of every arm holds of the real data, and how hard the test images are."""

from collections.abc import Sequence
from dataclasses import replace

from dasm.diagnosis import Diagnosis, Landmarks, Seen, mean, moved
from dasm.difficulty import loss
from dasm.evaluators import Evaluators, trained
from dasm.images.store import read_task
from dasm.segments import decoded
from dasm.storage.lineage import Lineage
from dasm.storage.results import write_diagnoses, write_ranks
from dasm.tables import read_chain, segment_files
from dasm.types import LabelledImages
from pipeline import layout, params
from pipeline.work import runtime
from pipeline.work.networks import read_networks


def main() -> None:
    """Make `data/diagnosis`. All arms are seen by the networks of state 0, which know nothing of any of them."""
    study, device = runtime.start()
    evaluators, seed = params.section(study, Evaluators, "evaluator"), params.value(study, "seed")
    states, groups = params.value(study, "benchmark.states"), ("arms", "controls", "coresets")
    with runtime.ledger("diagnose", "diagnose"):
        task = read_task(layout.REAL, device)
        networks = trained(read_networks(layout.TEACHERS, evaluators, task.train))
        train, test = (loss(real, networks) for real in (task.train, task.test))
        landmarks = [Landmarks(network, task.train, train.rank, seed) for network in networks]
        means = dict[tuple[str, int], Diagnosis]()
        # Arm by arm: all sets at once may be larger than memory.
        for arm in (arm for group in groups for arm in params.value(study, group)):
            chains = [read_chain(segment_files(layout.distilled(arm, state))) for state in states]
            found = [_diagnosed(marks, chains, task.train) for marks in landmarks]
            for chain, each in zip(chains, zip(*found, strict=True), strict=True):
                prefix_ipc = sum(segment.ipc for segment, _ in chain)
                means[arm, prefix_ipc] = _with_moves(mean(each), chain, task.train)
        write_diagnoses(layout.DIAGNOSIS, means, {"seed": seed})
        write_ranks(layout.DIAGNOSIS / "test.parquet", test, {"seed": seed})


def _with_moves(diagnosis: Diagnosis, chain: Lineage, real: LabelledImages) -> Diagnosis:
    parts = zip(diagnosis.segments, chain, strict=True)
    return replace(diagnosis, segments=tuple(replace(part, moved=moved(own, real)) for part, (own, _) in parts))


def _diagnosed(landmarks: Landmarks, sets: Sequence[Lineage], real: LabelledImages) -> list[Diagnosis]:
    # States of one arm follow each other and share their segments.
    seen: dict[str, Seen] = {}
    diagnoses = []
    for chain in sets:
        contents = [meta["content"] for _, meta in chain]
        seen = {
            content: seen[content] if content in seen else landmarks.see(decoded([segment], real))
            for content, (segment, _) in zip(contents, chain, strict=True)
        }
        diagnoses.append(landmarks.diagnose([seen[content] for content in contents]))
    return diagnoses
