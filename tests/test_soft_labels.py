"""Soft labels and learned step sizes: carried, learned, stored, counted; and nothing at all where there are none."""

import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import torch.nn.functional as F

from dasm.errors import ConfigError
from dasm.formation import decode_set
from dasm.images.png import to_png
from dasm.networks.convnet import ConvNet
from dasm.segments import decoded, shown_parts
from dasm.storage.lineage import content
from dasm.tables import read_segment, write_segment
from dasm.train import Learner, Recipe, _cutmix, epoch_batch
from dasm.types import Segment
from tests.handmade import equal_states

NAMES = ("cat", "dog")
PLAIN = Recipe(batch_size=7, learning_rate=0.05, augmentation=(), cutmix=0.0)


def segment(factor=2, channels=3, **more):
    generator = torch.Generator().manual_seed(0)
    return Segment(
        images=torch.randint(0, 256, (4, channels, 4, 6), generator=generator, dtype=torch.uint8),
        labels=torch.tensor([0, 0, 1, 1]),
        index=0,
        factor=factor,
        sources=torch.arange(4 * factor**2).reshape(4, -1),
        lower=0.25,
        upper=2 / 3,
        iterations=7,
        **more,
    )


def soft(count, classes=2, seed=0):
    return torch.rand(count, classes, generator=torch.Generator().manual_seed(seed)).softmax(1)


def test_targets_are_over_the_classes_of_the_set(blobs):
    with pytest.raises(ConfigError, match=r"^soft labels must be over 3 classes, got 2$"):
        replace(blobs, targets=soft(48, 2))


def test_targets_follow_their_images(blobs):
    data = replace(blobs, targets=soft(48, 3))
    chosen = torch.tensor([40, 3, 3])
    assert torch.equal(data.subset(chosen).targets, data.targets[chosen])
    assert torch.equal(data.to("cpu").targets, data.targets)
    assert torch.equal(decode_set(data, 2).targets, data.targets.repeat(4, 1))
    for plain in (blobs.subset(chosen), blobs.to("cpu"), decode_set(blobs, 2)):
        assert plain.targets is None


def test_answers_are_targets_or_else_classes(blobs):
    chosen = torch.tensor([20, 1])
    assert blobs.answers(chosen).tolist() == [1, 0]
    assert torch.equal(replace(blobs, targets=soft(48, 3)).answers(chosen), soft(48, 3)[chosen])


def step_on(data, recipe=PLAIN, steps=3):
    learner = Learner(ConvNet(width=4, depth=2).build((1, 8, 8), 3, 1), recipe)
    for step in range(steps):
        learner.step(data, step, 5, 0.05)
    return learner.network


def test_a_step_descends_the_cross_entropy_against_the_targets(blobs):
    targets = soft(48, 3)
    mine = step_on(replace(blobs, targets=targets), replace(PLAIN, momentum=0.0, weight_decay=0.0), steps=1)
    reference = ConvNet(width=4, depth=2).build((1, 8, 8), 3, 1)
    chosen = epoch_batch(48, 7, 0, 5)
    loss = -(targets[chosen] * F.log_softmax(reference(blobs.inputs(chosen)), 1)).sum(1).mean()
    for a, p, g in zip(
        mine.parameters(), reference.parameters(), torch.autograd.grad(loss, list(reference.parameters())), strict=True
    ):
        torch.testing.assert_close(a, p - 0.05 * g, rtol=0, atol=1e-7)


@pytest.mark.parametrize("cutmix", [0.0, 1.0])
def test_targets_that_leave_no_doubt_teach_what_the_classes_teach(blobs, cutmix):
    sure = replace(blobs, targets=F.one_hot(blobs.labels, 3).float())
    for a, b in zip(
        step_on(sure, replace(PLAIN, cutmix=cutmix)).parameters(),
        step_on(blobs, replace(PLAIN, cutmix=cutmix)).parameters(),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)
    assert not equal_states(step_on(replace(blobs, targets=soft(48, 3))), step_on(blobs))


def test_cutmix_takes_the_targets_of_the_partners():
    images = torch.arange(4.0)[:, None, None, None].expand(-1, 1, 8, 8)
    mixed, partners, _ = _cutmix(images, torch.arange(4), 1.0, torch.Generator().manual_seed(1))
    again, targets, _ = _cutmix(images, soft(4, 3), 1.0, torch.Generator().manual_seed(1))
    assert (
        torch.equal(mixed, again) and torch.equal(targets, soft(4, 3)[partners]) and partners.tolist() != [0, 1, 2, 3]
    )


def test_the_soft_labels_of_a_segment_are_those_of_its_decoded_images(blobs):
    two = replace(blobs, class_names=NAMES, labels=blobs.labels % 2)
    written = segment(channels=1, soft_labels=soft(16))
    data = decoded([written], two)
    assert torch.equal(data.targets, written.soft_labels) and len(data) == 16
    # Beside a segment without any, whose labels leave no doubt.
    mixed = decoded([written, segment(factor=1, channels=1)], two)
    assert torch.equal(mixed.targets[:16], written.soft_labels)
    assert mixed.targets[16:].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert decoded([segment(channels=1)], two).targets is None


def test_a_stored_image_has_the_mean_of_the_soft_labels_of_its_tiles(blobs):
    two = replace(blobs, class_names=NAMES, labels=blobs.labels % 2)
    written = segment(channels=1, soft_labels=soft(16))
    whole, hard = shown_parts([written, segment(factor=1, channels=1)], two, "stored")
    assert torch.equal(whole.images, written.images) and torch.equal(whole.labels, written.labels)
    # Number t * m + i is tile t of stored image i.
    by_hand = [sum(written.soft_labels[t * 4 + i] for t in range(4)) / 4 for i in range(4)]
    torch.testing.assert_close(whole.targets, torch.stack(by_hand))
    assert hard.targets.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    (plain,) = shown_parts([segment(channels=1)], two, "stored")
    assert plain.targets is None


@pytest.mark.parametrize("factor", [1, 2])
def test_soft_labels_and_step_size_come_back_bit_for_bit(tmp_path, factor):
    written = segment(factor, soft_labels=soft(4 * factor**2), learned_rate=0.1 + 0.2)
    write_segment(tmp_path / "s0.parquet", written, NAMES, {"arm": "dasm"})
    found = read_segment(tmp_path / "s0.parquet")
    assert torch.equal(found.soft_labels, written.soft_labels) and found.soft_labels.dtype == torch.float32
    assert found.learned_rate == written.learned_rate
    rows = pq.read_table(tmp_path / "s0.parquet")["soft_labels"].to_pylist()
    # Tile t of stored image i is decoded image t * 4 + i.
    assert rows[1] == written.soft_labels[1::4].tolist()


def test_a_segment_without_them_is_the_same_bytes_as_ever(tmp_path):
    """Written here column by column and key by key, as before there were any."""
    plain = segment()
    write_segment(tmp_path / "s0.parquet", plain, NAMES, {"arm": "dasm", "seed": 0})
    meta = {"arm": "dasm", "class_names": list(NAMES), "seed": 0}
    integers = {"dtype": "int32", "_type": "Value"}
    numbers = {"dtype": "float64", "_type": "Value"}
    features = {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "dog"], "_type": "ClassLabel"},
        "segment": integers,
        "factor": integers,
        "window_lower": numbers,
        "window_upper": numbers,
        "sources": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "Sequence"},
    }
    images = [{"bytes": to_png(image), "path": None} for image in plain.images]
    table = pa.table(
        {
            "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array([0, 0, 1, 1], pa.int64()),
            "segment": pa.array([0] * 4, pa.int32()),
            "factor": pa.array([2] * 4, pa.int32()),
            "window_lower": pa.array([0.25] * 4, pa.float64()),
            "window_upper": pa.array([2 / 3] * 4, pa.float64()),
            "sources": pa.array(plain.sources.tolist(), pa.list_(pa.int64())),
        }
    ).replace_schema_metadata(
        {
            "dasm.schema": "segment/2",
            "dasm.meta": json.dumps({**meta, "content": content(plain, meta), "iterations": 7}, sort_keys=True),
            "huggingface": json.dumps({"info": {"features": features}}),
        }
    )
    pq.write_table(table, tmp_path / "golden.parquet", compression="zstd")
    assert (tmp_path / "s0.parquet").read_bytes() == (tmp_path / "golden.parquet").read_bytes()
    found = read_segment(tmp_path / "s0.parquet")
    assert (found.soft_labels, found.learned_rate) == (None, None)


# datasets and what it loads warn about things that are not ours.
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets_opens_a_segment_with_soft_labels(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    from datasets import load_dataset, utils

    utils.disable_progress_bars()
    written = segment(soft_labels=soft(16))
    write_segment(tmp_path / "s0.parquet", written, NAMES, {})
    found = load_dataset(
        "parquet", data_files=str(tmp_path / "s0.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert found[2]["soft_labels"] == written.soft_labels[2::4].tolist()
    assert found.features["label"].names == ["cat", "dog"]
