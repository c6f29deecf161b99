"""A distilled set as a torch data set: its items, its prefixes, and what a network learns from it."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.utils.data import DataLoader

import dasm
from dasm.distilled import DistilledSet, described
from dasm.errors import ConfigError
from dasm.export import export
from dasm.networks.convnet import ConvNet
from dasm.segments import decoded
from dasm.train import Recipe, Trainer
from dasm.types import LabelledImages
from tests.conftest import make_blobs
from tests.graph import ROOT
from tests.handmade import equal_states, stored_images, write_chain

SHARED = {"class_names": ["cat", "dog"], "mean": [0.25], "std": [0.5], "content": "x"}


def in_memory(*segments, **more):
    return DistilledSet(segments=segments, provenance=({**SHARED, **more},) * len(segments))


def stored_set(folder, factors=(2, 2), **more):
    segments = [stored_images(k, factor=factor, **more) for k, factor in enumerate(factors)]
    write_chain(folder, segments)
    return dasm.load(folder), segments


def test_an_item_is_one_tile_normalised_by_the_real_set():
    """By hand: 4 x 4 pixels, factor 2, every tile of one level; item t * m + i is tile t of stored image i."""
    levels = torch.tensor([[0, 51, 102, 153], [204, 255, 0, 51]], dtype=torch.uint8)
    images = levels.reshape(2, 1, 2, 2).repeat_interleave(2, 2).repeat_interleave(2, 3)
    segment = replace(stored_images(ipc=1, channels=1), images=images)
    data = in_memory(segment)
    assert len(data) == 8
    expected = [(0, 0), (204, 1), (51, 0), (255, 1), (102, 0), (0, 1), (153, 0), (51, 1)]
    for (pixels, label), (level, expected_label) in zip(data, expected, strict=True):
        assert pixels.shape == (1, 4, 4)
        assert label == expected_label
        assert torch.allclose(pixels, torch.full((1, 4, 4), (level / 255 - 0.25) / 0.5))


@pytest.mark.parametrize("factors", [(1, 1), (2, 2), (3, 2, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_items_are_those_of_the_whole_bit_for_bit(tmp_path, factors, channels):
    """5 x 6 pixels: sides that the factor does not divide."""
    data, segments = stored_set(tmp_path, factors, channels=channels)
    whole = data.labelled()
    assert len(data) == len(whole) == sum(4 * factor**2 for factor in factors)
    assert torch.equal(torch.stack([image for image, _ in data]), whole.inputs())
    assert [label for _, label in data] == whole.labels.tolist()
    real = LabelledImages(
        images=segments[0].images,
        labels=segments[0].labels,
        class_names=("cat", "dog"),
        mean=torch.full((channels,), 0.4),
        std=torch.full((channels,), 0.25),
    )
    benchmarked = decoded(segments, real)
    for name in ("images", "labels", "mean", "std"):
        assert torch.equal(getattr(whole, name), getattr(benchmarked, name)), name
    assert whole.class_names == data.class_names == ("cat", "dog")
    assert torch.equal(data.mean, real.mean) and torch.equal(data.std, real.std)


def test_items_count_like_those_of_a_list(tmp_path):
    data, _ = stored_set(tmp_path)
    assert torch.equal(data[-1][0], data[31][0]) and torch.equal(data[-32][0], data[0][0])
    for index in (32, -33):
        with pytest.raises(IndexError):
            data[index]


def test_a_loader_makes_batches(tmp_path):
    data, _ = stored_set(tmp_path)
    images, labels = zip(*DataLoader(data, batch_size=7), strict=True)
    assert torch.equal(torch.cat(images), data.labelled().inputs())
    assert torch.equal(torch.cat(labels), data.labelled().labels)


def test_a_network_learns_the_same_from_the_file_as_from_memory(tmp_path):
    data, segments = stored_set(tmp_path, channels=1)
    trainer = Trainer(network=ConvNet(width=4, depth=1), recipe=Recipe(batch_size=8))
    like = LabelledImages(
        images=segments[0].images[:1],
        labels=segments[0].labels[:1],
        class_names=("cat", "dog"),
        mean=torch.tensor([0.4]),
        std=torch.tensor([0.25]),
    )
    (ours,), (theirs,) = (trainer.train(images, 5, 3) for images in (data.labelled(), decoded(segments, like)))
    assert equal_states(ours, theirs)


def test_a_prefix_is_whole_segments_and_equals_the_state_of_that_size(tmp_path):
    segments = [stored_images(k, ipc=ipc) for k, ipc in enumerate((2, 1, 3))]
    write_chain(tmp_path / "3", segments)
    hashes = [write_chain(tmp_path / str(n), segments[:n]) for n in (1, 2)]
    assert dasm.load(tmp_path / "3").sizes == (2, 3, 6)
    for count, size in ((1, 2), (2, 3)):
        prefix, state = dasm.load(tmp_path / "3", prefix_ipc=size), dasm.load(str(tmp_path / str(count)))
        assert torch.equal(prefix.labelled().images, state.labelled().images)
        assert prefix.content == state.content == hashes[count - 1]
    assert len(dasm.load(tmp_path / "3", prefix_ipc=6)) == len(dasm.load(tmp_path / "3"))


@pytest.mark.parametrize("size", [0, 1, 4, 5, 7, -2])
def test_part_of_a_segment_is_no_set(tmp_path, size):
    write_chain(tmp_path, [stored_images(k, ipc=ipc) for k, ipc in enumerate((2, 1, 3))])
    with pytest.raises(ConfigError) as caught:
        dasm.load(tmp_path, prefix_ipc=size)
    assert str(caught.value) == f"{tmp_path}: prefix_ipc must be one of 2, 3, 6 (whole segments), got {size}"


@pytest.mark.parametrize("name", ["class_names", "mean", "std"])
def test_segments_of_different_real_sets_are_no_set(name):
    segments = (stored_images(0, channels=1), stored_images(1, channels=1))
    other = {"class_names": ["dog", "cat"], "mean": [0.26], "std": [0.51]}[name]
    with pytest.raises(ConfigError, match=f"^segment 1: must have the {name} of the first, got"):
        DistilledSet(segments=segments, provenance=(SHARED, {**SHARED, name: other}))
    with pytest.raises(ConfigError, match=f"^segment 0: must record {name}, got none$"):
        DistilledSet(segments=segments[:1], provenance=({key: SHARED[key] for key in SHARED if key != name},))


@pytest.mark.parametrize("form", ["*.parquet", "*.safetensors", "images"])
def test_fresh_segments_are_a_set_that_can_be_handed_on(tmp_path, form):
    segments = [stored_images(0, factor=1), stored_images(1)]
    real = replace(make_blobs(2, 0, classes=2, side=4, channels=3), class_names=("cat", "dog"))
    fresh = DistilledSet.of(segments, real, arm="mine")
    assert [recorded["parent"] for recorded in fresh.provenance] == [None, fresh.provenance[0]["content"]]
    assert (fresh.class_names, fresh.sizes, len(fresh)) == (("cat", "dog"), (2, 4), 4 + 16)
    assert torch.equal(fresh.mean, real.mean) and torch.equal(fresh.std, real.std)
    export(tmp_path / "out", fresh)
    again = dasm.load(next((tmp_path / "out").glob(form)))
    assert again.content == fresh.content
    assert [recorded["arm"] for recorded in again.provenance] == ["mine", "mine"]
    assert torch.equal(again.labelled().images, decoded(segments, real).images)


def test_nothing_is_no_set():
    with pytest.raises(ConfigError, match="at least one segment"):
        DistilledSet(segments=(), provenance=())


def test_a_description_says_everything_but_the_tensors(tmp_path):
    data, segments = stored_set(tmp_path, (2, 1))
    for (plain, provenance), segment, recorded in zip(
        described(data.description()), segments, data.provenance, strict=True
    ):
        assert plain == {name: getattr(segment, name) for name in ("index", "factor", "lower", "upper", "iterations")}
        assert provenance == recorded


def soft_set(*factors, stored=(True, False)):
    """Two classes; the segments that store soft labels, and those that do not."""
    segments = []
    for k, (factor, has) in enumerate(zip(factors, stored, strict=True)):
        segment = stored_images(k, channels=1, factor=factor)
        answers = torch.rand(4 * factor**2, 2, generator=torch.Generator().manual_seed(k)).softmax(1)
        segments.append(replace(segment, soft_labels=answers if has else None))
    return in_memory(*segments)


@pytest.mark.parametrize("factors", [(1, 1), (2, 1), (2, 3)])
def test_items_of_a_set_with_soft_labels_are_what_the_benchmark_trains_on(factors):
    data = soft_set(*factors)
    whole = data.labelled()
    images, answers = (torch.stack(part) for part in zip(*data, strict=True))
    assert torch.equal(images, whole.inputs()) and torch.equal(answers, whole.targets)
    assert answers.dtype == torch.float32 and answers.shape == (4 * sum(f**2 for f in factors), 2)
    assert torch.equal(answers[: 4 * factors[0] ** 2], data.segments[0].soft_labels)
    # The second segment stores none: distributions without doubt, tile after tile.
    assert answers[4 * factors[0] ** 2 :].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]] * factors[1] ** 2
    batched = torch.cat([labels for _, labels in DataLoader(data, batch_size=3)])
    assert torch.equal(batched, answers)


@pytest.mark.parametrize("form", ["state", "out", "out/distilled.parquet", "out/distilled.safetensors", "out/images"])
def test_labels_are_soft_or_hard_as_asked_for_in_every_form(tmp_path, form):
    write_chain(tmp_path / "state", soft_set(2, 1).segments)
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", dasm.load(tmp_path / "state"))
    auto, soft, hard = (dasm.load(tmp_path / form, labels=labels) for labels in ("auto", "soft", "hard"))
    assert (auto.soft, soft.soft, hard.soft) == (True, True, False)
    assert [list(map(float, label)) for _, label in soft] == auto.labelled().targets.tolist()
    assert [label for _, label in hard] == [0, 0, 1, 1] * 5 and type(hard[0][1]) is int
    assert hard.labelled().targets is None and hard.labelled().labels.tolist() == [0, 0, 1, 1] * 5
    for data in (auto, soft, hard):
        assert data.prefix(2).labels == data.labels and data.content == auto.content
    assert dasm.load(tmp_path / form).labels == "auto"


def test_a_set_without_soft_labels_gives_none(tmp_path):
    write_chain(tmp_path, [stored_images(0), stored_images(1)])
    for labels in ("auto", "hard"):
        data = dasm.load(tmp_path, labels=labels)
        assert not data.soft and type(data[0][1]) is int and data.labelled().targets is None
    with pytest.raises(ConfigError) as caught:
        dasm.load(tmp_path, labels="soft")
    rule = "labels must be auto or hard, because no segment stores soft ones, got 'soft'"
    assert str(caught.value) == f"{tmp_path}: {rule}"
    with pytest.raises(ConfigError, match=r": labels must be one of auto, hard, soft, got 'firm'$"):
        dasm.load(tmp_path, labels="firm")
    with pytest.raises(ConfigError, match="no segment stores soft ones"):
        replace(soft_set(1, 1, stored=(False, True)), labels="soft").prefix(2)


def test_importing_dasm_costs_no_torch():
    code = "import sys, dasm; dasm.load; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
