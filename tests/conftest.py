"""Small sets that every test may use, and deterministic torch."""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import settings

from dasm.networks.convnet import ConvNet
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages, Task

settings.register_profile("dasm", derandomize=True, deadline=None, max_examples=30)
settings.load_profile("dasm")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read once, when a GPU is first used
    _repeatable()


@pytest.fixture(autouse=True)
def _whatever_ran_before():
    """A stage that ran in this process has switched torch for good, and so may a test."""
    _repeatable()


def _repeatable() -> None:
    """As the product runs, and with fresh memory filled, which finds reads of what was never written."""
    torch.set_deterministic_debug_mode("error")
    torch.utils.deterministic.fill_uninitialized_memory = True
    torch.backends.cudnn.allow_tf32 = False


def make_blobs(per_class: int, seed: int, classes: int = 3, side: int = 8, channels: int = 1) -> LabelledImages:
    """Classes that differ in where they are bright, with noise: easy for any network, no two images alike."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = [], []
    for label in range(classes):
        base = torch.zeros(channels, side, side)
        base[:, :, label * side // classes : (label + 1) * side // classes] = 0.7
        noise = torch.rand(per_class, channels, side, side, generator=generator) * 0.3
        images.append((base + noise).clamp(0, 1))
        labels += [label] * per_class
    return LabelledImages(
        images=(torch.cat(images) * 255).round().to(torch.uint8),
        labels=torch.tensor(labels),
        class_names=tuple(f"class {label}" for label in range(classes)),
        mean=torch.full((channels,), 0.35),
        std=torch.full((channels,), 0.3),
    )


@pytest.fixture(scope="session")
def blobs() -> LabelledImages:
    """Sixteen images of each of three classes."""
    return make_blobs(16, seed=0)


@pytest.fixture
def task() -> Task:
    return Task(train=make_blobs(16, 0), validation=make_blobs(8, 1), test=make_blobs(8, 2))


@pytest.fixture(scope="session")
def trainer() -> Trainer:
    """A tiny convolutional network and a short recipe."""
    recipe = Recipe(batch_size=16, learning_rate=0.05, augmentation=("color", "crop"), cutmix=0.5)
    return Trainer(network=ConvNet(width=4, depth=2), recipe=recipe)


@pytest.fixture
def double() -> Iterator[Callable[[LabelledImages], LabelledImages]]:
    """Everything made in the test is 64-bit, networks included; a function makes sets so."""
    torch.set_default_dtype(torch.float64)
    yield lambda data: replace(data, images=data.images / 255, mean=data.mean.double(), std=data.std.double())
    torch.set_default_dtype(torch.float32)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest: two workers then end together."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
