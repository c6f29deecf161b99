import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from dasm.data import array_source
from dasm.data.image_folder import ImageFolder
from dasm.data.long_tailed import LongTailed
from dasm.errors import ConfigError
from dasm.images.prepare import write_images, write_source
from dasm.images.store import read_task
from dasm.storage.parquet import read_table
from tests.images.test_sources import by_hand, dots
from tests.pictures import fill, noise

SPLITS = ("train", "validation", "test")
ARRAYS = [f"{split}.{kind}.npy" for split in SPLITS for kind in ("images", "labels")]
FILES = sorted(["meta.json", "train.origin.npy", *ARRAYS])


@pytest.fixture
def source():
    labels = np.array([0, 1] * 300)
    return array_source("x", {"train": (noise(600, 3, 5, 4), labels)}, ("a", "ä"), seed=0, validation=0.2, test=0.3)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refusal(folder, source):
    with pytest.raises(ConfigError) as caught:
        write_source(folder, source)
    message = str(caught.value)
    assert "\n" not in message
    return message


def broken(error):
    """A source whose fifth block cannot be read."""

    def fail():
        raise error

    return by_hand(10, lambda: iter([lambda: dots(0, 1)] * 4 + [fail]))


def test_the_files_are_what_numpy_writes_of_the_task_in_memory(tmp_path, source):
    write_source(tmp_path / "real", source)
    assert sorted(contents(tmp_path / "real")) == FILES
    task = source.task()
    for split in SPLITS:
        for kind in ("images", "labels"):
            np.save(tmp_path / "expected.npy", getattr(getattr(task, split), kind).numpy())
            written = (tmp_path / "real" / f"{split}.{kind}.npy").read_bytes()
            assert written == (tmp_path / "expected.npy").read_bytes()
    meta = json.loads((tmp_path / "real" / "meta.json").read_text())
    assert meta == {"class_names": ["a", "ä"], "mean": task.train.mean.tolist(), "std": task.train.std.tolist()}


def test_every_training_image_says_where_it_stands_among_all(tmp_path, source):
    """Of the pixels themselves: image n of the data set is noise of its own."""
    write_source(tmp_path / "real", source)
    whole = noise(600, 3, 5, 4)
    for task in (read_task(tmp_path / "real"), source.task()):
        assert (task.train.images.numpy() == whole[task.train.origin]).all()
        assert task.validation.origin is None and task.test.origin is None


def test_what_an_earlier_version_has_prepared_can_be_read(tmp_path, source):
    """`check` looks into it before it is prepared again."""
    write_source(tmp_path / "real", source)
    (tmp_path / "real/train.origin.npy").unlink()
    task = read_task(tmp_path / "real")
    assert task.train.origin is None and torch.equal(task.train.images, source.task().train.images)


def test_images_are_listed_with_their_files(tmp_path):
    """Through a data set that leaves images out; a name that is no text as far as it is one."""
    odd = os.fsdecode(b"gr\xf6n.png")
    fill(tmp_path / "in", {f"{c}/{i}.png": 30 * n + i for n, c in enumerate(("cat", "dog")) for i in range(30)})
    (tmp_path / "in/cat/0.png").rename(tmp_path / "in/cat" / odd)
    source = LongTailed(of=ImageFolder(root=f"{tmp_path}/in/", color="grey"), factor=3.0).open(0)
    write_images(tmp_path / "images.parquet", source)
    table, meta = read_table(tmp_path / "images.parquet", "images/1")
    rows, train = table.to_pylist(), source.task().train
    assert meta == {"class_names": ["cat", "dog"]} and len(rows) == len(train) < 40
    files = sorted(f"{c}/{i}.png" for c in ("cat", "dog") for i in range(30) if (c, i) != ("cat", 0))
    files.insert(29, "cat/gr\ufffdn.png")  # by code point it comes last of its class
    for number, row in enumerate(rows):
        level = int(train.images[number].float().mean().round())
        expected = f"{('cat', 'dog')[level // 30]}/{level % 30}.png" if level else files[29]
        assert row["name"] == expected == files[row["origin"]]
        assert row == {"index": number, "origin": train.origin[number], "label": level // 30, "name": expected}


def test_images_that_are_no_files_are_listed_without_names(tmp_path, source):
    write_images(tmp_path / "images.parquet", source)
    table, _ = read_table(tmp_path / "images.parquet", "images/1")
    assert table["origin"].to_pylist() == source.splits["train"].tolist() and table["name"].null_count == len(table)


def test_the_same_content_gives_the_same_bytes(tmp_path, source):
    write_source(tmp_path / "one", source)
    write_source(tmp_path / "two", source)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_progress_counts_every_image_and_ends(tmp_path, source):
    seen = []

    def track(work):
        for item in work:
            seen.append(item)
            yield item
        seen.append("end")

    write_source(tmp_path / "real", source, track=track)
    assert seen == [*range(600), "end"]


def test_a_damaged_image_leaves_nothing_behind(tmp_path):
    assert refusal(tmp_path / "real", broken(ConfigError("image 8"))) == "image 8"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_image_leaves_an_older_data_set_whole(tmp_path, source):
    write_source(tmp_path / "real", source)
    before = contents(tmp_path / "real")
    refusal(tmp_path / "real", broken(ConfigError("image 8")))
    assert contents(tmp_path / "real") == before
    assert [path.name for path in tmp_path.iterdir()] == ["real"]


def test_a_run_that_was_killed_is_not_in_the_way(tmp_path, source):
    (tmp_path / ".real.tmp").mkdir()
    for name in ("train.images.npy", "of-another-version.npy"):
        (tmp_path / ".real.tmp" / name).write_bytes(b"half")
    write_source(tmp_path / "real", source)
    assert sorted(contents(tmp_path / "real")) == FILES
    assert [path.name for path in tmp_path.iterdir()] == ["real"]
    assert len(read_task(tmp_path / "real").train) == 300


def test_a_new_data_set_takes_the_place_of_an_older_one_and_leaves_other_files_alone(tmp_path, source):
    write_source(tmp_path / "real", by_hand(8, lambda: iter([lambda: dots(*range(8))])))
    (tmp_path / "real" / "mine.txt").write_text("x")
    write_source(tmp_path / "real", source)
    assert len(read_task(tmp_path / "real").train) == 300
    assert (tmp_path / "real" / "mine.txt").read_text() == "x"


def test_a_run_killed_while_files_are_moved_leaves_no_data_set_that_looks_whole(tmp_path, source, monkeypatch):
    write_source(tmp_path / "real", by_hand(8, lambda: iter([lambda: dots(*range(8))])))
    moved, rename = [], Path.replace

    def replace(self, target):
        if len(moved) == 3:
            raise KeyboardInterrupt
        moved.append(target)
        rename(self, target)

    monkeypatch.setattr("pathlib.Path.replace", replace)
    with pytest.raises(KeyboardInterrupt):
        write_source(tmp_path / "real", source)
    with pytest.raises(ConfigError, match="must be a prepared data set"):
        read_task(tmp_path / "real")


def test_a_full_disk_is_one_line(tmp_path, source, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    rule = "must be a folder that can be written (No space left on device)"
    assert refusal(tmp_path / "real", source) == f"{tmp_path}/real: {rule}"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, source):
    (tmp_path / "file").touch()
    rule = "must be a folder that can be written (Not a directory)"
    assert refusal(tmp_path / "file" / "real", source) == f"{tmp_path}/file/real: {rule}"
