import pytest
import torch

from dasm.errors import ConfigError
from dasm.store import read_split, read_task, write_task

SPLITS = ("train", "validation", "test")


@pytest.fixture
def folder(tmp_path, task):
    write_task(tmp_path / "prepared", task)
    return tmp_path / "prepared"


def test_a_task_comes_back_bit_for_bit(folder, task):
    found = read_task(folder)
    for split in SPLITS:
        mine, theirs = getattr(task, split), getattr(found, split)
        for name in ("images", "labels", "mean", "std"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
        assert mine.class_names == theirs.class_names


def test_statistics_keep_every_bit(tmp_path, task):
    mean = torch.tensor([1 / 3]).nextafter(torch.tensor([1.0]))
    train = type(task.train)(
        images=task.train.images, labels=task.train.labels, class_names=("ä", "b", "c"), mean=mean, std=mean / 7
    )
    write_task(tmp_path, type(task)(train=train, validation=task.validation, test=task.test))
    found = read_split(tmp_path, "train")
    assert torch.equal(found.mean, mean) and torch.equal(found.std, mean / 7)
    assert found.class_names == ("ä", "b", "c")


def test_the_same_content_gives_the_same_bytes(folder, tmp_path, task):
    write_task(tmp_path / "again", task)
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(["meta.json", *(f"{s}.{kind}.npy" for s in SPLITS for kind in ("images", "labels"))])
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", ["meta.json", "train.images.npy", "train.labels.npy"])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage"])
def test_a_damaged_folder_is_named(folder, name, damage):
    path = folder / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "garbage": b"x" * 99}[damage])
    with pytest.raises(ConfigError, match=rf"^{folder}: must be a prepared data set \("):
        read_split(folder, "train")


def test_meta_without_class_names_is_refused(folder):
    (folder / "meta.json").write_text("{}")
    with pytest.raises(ConfigError, match=rf"^{folder}: must be a prepared data set \("):
        read_split(folder, "train")
