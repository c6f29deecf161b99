"""Classifiers and sets whose answers are known by hand."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from dasm.difficulty import Difficulty
from dasm.networks import Classifier
from dasm.readings import Reading
from dasm.storage.parquet import read_table
from dasm.tables import write_segment
from dasm.types import LabelledImages, Segment
from dasm.windows import Progress

DASM = Path(__file__).parent.parent / "dasm"


def listed(kind: str) -> list[str]:
    """Names of the plug-ins of a kind by the files in its folder, found without the code under test."""
    return sorted(file.stem for file in (DASM / kind).glob("*.py") if not file.stem.startswith("_"))


def plain_set(images: Tensor, labels: Sequence[int], classes: int | None = None) -> LabelledImages:
    """A set whose network inputs are its pixels in [0, 1]: mean 0, standard deviation 1."""
    channels = images.shape[1]
    return LabelledImages(
        images=images,
        labels=torch.tensor(labels, dtype=torch.long),
        class_names=tuple(f"class {c}" for c in range(max(labels) + 1 if classes is None else classes)),
        mean=torch.zeros(channels),
        std=torch.ones(channels),
    )


def numbered_set(labels: Sequence[int]) -> LabelledImages:
    """Image i is 2 x 2 pixels of grey level i."""
    levels = torch.arange(len(labels), dtype=torch.uint8)
    return plain_set(levels[:, None, None, None].expand(-1, 1, 2, 2).contiguous(), labels)


def numbers(inputs: Tensor) -> list[int]:
    """Which images of a numbered set these inputs are; every pixel has to say the same."""
    levels = (inputs.flatten(1) * 255).round().long()
    assert (levels == levels[:, :1]).all()
    return levels[:, 0].tolist()


def one_hot_set(labels: Sequence[int], classes: int | None = None) -> LabelledImages:
    """Image i is one row of pixels, black but for pixel i."""
    return plain_set(torch.eye(len(labels))[:, None, None, :], labels, classes)


def answering(logits: Tensor) -> Classifier:
    """The classifier that gives image i of a one-hot set the i-th row of logits."""
    head = nn.Linear(len(logits), logits.shape[1], bias=False)
    with torch.no_grad():
        head.weight.copy_(logits.T)
    return Classifier(nn.Flatten(), head)


def readings(data: LabelledImages, *networks: Classifier) -> list[Reading]:
    """What these snapshots of one training say of a set."""
    return [Reading(network, data) for network in networks]


def with_batch_norm(side: int = 8, classes: int = 3) -> Classifier:
    """A classifier that, in training mode, would let an image's logits depend on its company. Left in training mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
        return Classifier(body, nn.Linear(4 * side * side, classes)).train()


def difficulty_of(scores: Sequence[float] | Tensor, labels: Sequence[int] | Tensor) -> Difficulty:
    score = torch.as_tensor(scores, dtype=torch.float32)
    return Difficulty(
        score=score, spread=torch.zeros_like(score), right=torch.zeros_like(score), labels=torch.as_tensor(labels)
    )


def progress(difficulty: Difficulty, prefix: int, planned: int = 10, *, segments: int = 1, stream: int = 0) -> Progress:
    """A set that has come to `prefix` of `planned` images per class, and was as hard at the start as it is now."""
    return Progress(
        first=difficulty, segments=segments, first_windowed=1, prefix_ipc=prefix, planned_ipc=planned, stream=stream
    )


def stored_images(index: int = 0, *, ipc: int = 2, channels: int = 3, factor: int = 2, classes: int = 2) -> Segment:
    """A segment of noise, 5 x 6 pixels."""
    generator = torch.Generator().manual_seed(index)
    n = ipc * classes
    return Segment(
        images=torch.randint(0, 256, (n, channels, 5, 6), generator=generator, dtype=torch.uint8),
        labels=torch.arange(classes).repeat_interleave(ipc),
        index=index,
        factor=factor,
        sources=torch.arange(n * factor**2).reshape(n, -1) + 2**33,
        lower=0.1 * index,
        upper=2 / 3,
        iterations=7,
    )


def write_chain(
    folder: Path, segments: Sequence[Segment], names: Sequence[str] = ("cat", "dog"), **more: object
) -> str:
    """Write segments that follow each other, as `s<k>.parquet`; return the hash of the last one."""
    channels = segments[0].images.shape[1]
    parent: str | None = None
    for segment in segments:
        provenance = {"mean": [0.4] * channels, "std": [0.25] * channels, "parent": parent, **more}
        path = folder / f"s{segment.index}.parquet"
        write_segment(path, segment, names, provenance)
        parent = read_table(path, "segment/2")[1]["content"]
    assert parent is not None
    return parent


def digests(folder: Path) -> dict[str, str]:
    """Every file below a folder, and what it holds."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() for path in files}


def equal_states(first: nn.Module, second: nn.Module) -> bool:
    """Whether two networks hold the same numbers, bit for bit."""
    a, b = first.state_dict(), second.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
