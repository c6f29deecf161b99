"""Made-up studies for the report: every artefact of one, with numbers from a hat and noise for images."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dasm.diagnosis import Diagnosis, SegmentDiagnosis
from dasm.difficulty import Difficulty
from dasm.storage.results import write_diagnoses, write_ranks
from dasm.tables import write_difficulty, write_segment
from dasm.types import Segment
from pipeline import params as parameters
from pipeline.reporting import artefacts
from tests.graph import ROOT

SEEDS, NETWORKS, IPC, TESTED = 3, ("convnet", "mlp"), 2, 30
BLOCKS = """\
matching: {factor: 1, match_prefix: true, objective: {name: gradient, metric: l1, augmentation: [color, crop]}}
evaluator: {networks: 3, steps: 100, snapshots: 1}
selection: {score: {name: loss}, window: {name: budget, width: 0.7}, first_window: all}
watch: dasm/data/digits.py
"""
TOY = """\
study: toy  # a comment <that> the page must show
arms: [dasm]
controls: [sequential, idc]
method: {idc: {joint: true}}
coresets: [random, mosaic]
"""
_SHARES = {"full": 0.95, "dasm": 0.70, "sequential": 0.66, "idc": 0.68, "random": 0.50, "mosaic": 0.58}

_OBJECTIVES = ("dc", "dsa", "dm", "cafe", "ncfm", "mtt", "tesla", "datm", "sre2l")
_WINDOWS = ("linear", "tail", "frontier", "residual", "soft", "anchor", "all", "random", "reversed", "static")
_SCORES = ("el2n", "grand", "forgetting", "margin", "aum", "entropy", "learnability")
_CORESETS = ("random", "herding", "k_center", "k_means", "forgetting", "el2n", "window", "ccs", "mosaic")


def zoo() -> str:
    """Return the arms of a study that has everything: 49 of them."""
    method: dict[str, dict] = {}
    for name in _OBJECTIVES:
        block = {"objective": {"name": name, "real_batch": 32}, "learning_rate": 10.0}
        method[name] = {"matching": block}
        method[f"{name}-joint"] = {"joint": True, "matching": block}
    method |= {f"window-{name}": {"selection": {"window": {"name": name}}} for name in _WINDOWS}
    method["window-narrow"] = {"selection": {"window": {"width": 0.3}}}
    method["window-hard_filter"] = {"selection": {"window": {"name": "hard_filter", "share": 0.3}}}
    method |= {f"score-{name}": {"selection": {"score": {"name": name}}} for name in _SCORES}
    method["score-forgetting"]["evaluator"] = {"snapshots": 10}
    method["evaluator-one"] = {"evaluator": {"networks": 1}}
    method["evaluator-warm"] = {"evaluator": {"start": "warm", "order": "stagewise"}}
    method["initial-only"] = {"matching": {"windowed": "initial"}}
    method["matching-only"] = {"matching": {"windowed": "matching"}}
    method["alone"] = {"matching": {"match_prefix": False}}
    method["sre2l"]["note"] = "Ten steps recover <nothing>."
    joint = [arm for arm in method if arm.endswith("-joint")]
    method["idc"] = {"joint": True}
    method |= {f"core-{name}": {"coreset": {"name": name}} for name in ("forgetting", "el2n", "window")}
    cores = [f"core-{name}" if f"core-{name}" in method else name for name in _CORESETS]
    arms = ["dasm", *(arm for arm in method if arm not in joint and arm != "idc" and not arm.startswith("core-"))]
    lines = {"study": "zoo", "arms": arms, "controls": ["sequential", "idc", *joint], "coresets": cores}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in {**lines, "method": method}.items())


def make_study(
    root: Path,
    arms: str = TOY,
    *,
    states: int = 3,
    benchmarked: tuple[int, ...] = (),
    classes: int = 3,
    shape: tuple[int, int, int] = (1, 8, 8),
) -> None:
    """Write every artefact of a study; all states are benchmarked unless some are named."""
    rng = np.random.default_rng(0)
    chain = ", ".join(f"{{k: {k}, next: {k + 1}}}" for k in range(states))
    networks = ", ".join(f"{{name: {name}}}" for name in NETWORKS)
    benchmarked = benchmarked or tuple(range(1, states + 1))
    shutil.copy(ROOT / "dvc.yaml", root)
    path = root / "params.yaml"
    path.write_text(arms)
    groups = parameters.read(path)
    everyone = [arm for group in ("arms", "controls", "coresets") for arm in groups[group]]
    path.write_text(
        f"{arms}{BLOCKS}chain: [{chain}]\nrescore: [{chain}]\n"
        f"benchmark: {{states: {[*benchmarked]}, networks: [{networks}], protocol: {{}},"
        f" arms: {json.dumps(everyone)}}}\n"
    )
    study = scope(root)
    images = rng.integers(0, 256, (40 * classes, *shape)).astype(np.uint8)
    labels = rng.permutation(np.arange(40 * classes) % classes)
    real = root / "data/real"
    real.mkdir(parents=True)
    np.save(real / "train.images.npy", images)
    np.save(real / "train.labels.npy", labels)
    names = [f"<{c}>" for c in range(classes)]
    (real / "meta.json").write_text(json.dumps({"class_names": names, "mean": [0.5], "std": [0.5]}))
    for arm in study.scored:
        for n in range(states + 1):
            _difficulty(root / f"data/difficulty/{arm}/{n}.parquet", labels, n, states, rng)
    for number, arm in enumerate(study.arms):
        for n in {*benchmarked, states}:
            for k in range(segments := 1 if arm in study.joint else n):
                path = root / f"data/distilled/{arm}/{n}/s{k}.parquet"
                # No two arms hold the same images.
                _segment(path, images ^ np.uint8(number), labels, names, k, IPC * n // segments)
        kind = "distill" if arm in study.scored else "coreset" if arm in study.coresets else "control"
        for n in range(1, states + 1):
            curve = [] if kind == "coreset" else [100 / (1 + i / 9) + n for i in range(40 * n)]
            write_ledger(root, kind, f"{kind}-{arm}-{n - 1}", arm, curve)
        for n in benchmarked:
            write_results(root / f"data/results/{arm}/{n}.parquet", arm, IPC * n, rng)
            write_ledger(root, "benchmark", f"benchmark-{arm}-{n}", arm, [])
    write_results(root / "data/results/full.parquet", "full", 0, rng)
    _diagnosis(root / "data/diagnosis", study, benchmarked, rng)
    write_ledger(root, "prepare", "prepare", None, [])


def write_results(path: Path, arm: str, prefix_ipc: int, rng: np.random.Generator) -> None:
    base = _SHARES.get(arm, 0.55 + 0.15 * rng.random())
    rows = []
    for network in NETWORKS:
        for seed in range(SEEDS):
            test = base + 0.02 * prefix_ipc * (arm != "full") - 0.1 * (network == "mlp") + 0.01 * rng.normal()
            validation = test - 0.01 + 0.004 * rng.normal()
            right = (rng.random(TESTED) < test).tolist()
            rows.append([arm, prefix_ipc, network, seed, validation, test, right, "2.0", "cpu"])
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = ["arm", "prefix_ipc", "network", "seed", "validation", "test", "test_right", "torch_version", "device"]
    pd.DataFrame(rows, columns=columns).to_parquet(path)


def write_ledger(root: Path, stage: str, name: str, arm: str | None, distances: list[float]) -> None:
    entry = {
        "stage": stage,
        "name": name,
        "seconds": 2.5,
        "forward_images": 1000,
        "backward_images": 400,
        "flops": 3 * 10**9,
    }
    entry |= {"peak_memory_mb": 300, "device": "cpu", "distances": distances} | ({"arm": arm} if arm else {})
    path = root / f"data/ledger/{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entry))


def write_soft_labels(path: Path, labels: pa.Array) -> None:
    """Give a segment soft labels, as `dasm.tables` writes them."""
    table = pq.read_table(path)
    pq.write_table(table.append_column("soft_labels", labels), path)


def rewrite(path: Path, change) -> None:
    change(rows := pd.read_parquet(path))
    rows.to_parquet(path)


def ledger(root: Path) -> pd.DataFrame:
    return artefacts.read_ledger(root, parameters.read(root / "params.yaml"), scope(root))


def scope(root: Path) -> artefacts.Scope:
    return artefacts.Scope.of(parameters.read(root / "params.yaml"))


def _difficulty(path: Path, labels: np.ndarray, n: int, states: int, rng: np.random.Generator) -> None:
    score = torch.tensor(np.exp(rng.normal(-1 - n, 1.2, len(labels)))).float()
    right = torch.tensor(rng.integers(0, 4, len(labels)) / 3).float()
    made = Difficulty(score=score, spread=score / 9, right=right, labels=torch.tensor(labels))
    lower = 0.5 * n / states
    inside = (made.rank >= lower) & (made.rank < lower + 0.5)
    write_difficulty(path, made, (inside if n else torch.ones(len(labels))).float(), {"state": n})


def _diagnosis(folder: Path, study: artefacts.Scope, states: tuple[int, ...], rng: np.random.Generator) -> None:
    found = {}
    for arm, n in ((arm, n) for arm in study.arms for n in states):
        sizes = [IPC * n] if arm in study.joint else [IPC] * n
        parts = [
            SegmentDiagnosis(
                images=size,
                difficulty=float(rng.random()),
                similarity=float(rng.random()),
                overlap=float(rng.random()) if k else float("nan"),
                moved=float(rng.random()) if arm not in study.coresets else float("nan"),
            )
            for k, size in enumerate(sizes)
        ]
        easy, middle, hard = rng.random(3).tolist()
        found[arm, IPC * n] = Diagnosis(
            images=IPC * n, coverage=(easy, middle, hard), diversity=1 + float(rng.random()), segments=tuple(parts)
        )
    write_diagnoses(folder, found, {})
    labels = torch.arange(TESTED) % 3
    score = torch.tensor(rng.random(TESTED)).float()
    write_ranks(folder / "test.parquet", Difficulty(score=score, spread=score, right=score, labels=labels), {})


def _segment(path: Path, images: np.ndarray, labels: np.ndarray, names: list[str], k: int, ipc: int) -> None:
    chosen = np.concatenate([np.flatnonzero(labels == c)[k * ipc : (k + 1) * ipc] for c in range(len(names))])
    segment = Segment(
        images=torch.tensor(255 - images[chosen]),
        labels=torch.tensor(labels[chosen]),
        index=k,
        factor=2,
        sources=torch.tensor(chosen)[:, None],
        lower=0.125 * k,
        upper=0.5 + 0.125 * k,
        iterations=40,
    )
    write_segment(path, segment, names, {})
