import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dasm.data import array_source
from dasm.errors import ConfigError
from dasm.images.prepare import write_source
from dasm.images.store import read_split, read_task
from tests.pictures import noise

SPLITS = ("train", "validation", "test")


@pytest.fixture
def source():
    labels = np.array([0, 1, 2] * 20)
    return array_source("x", {"train": (noise(60, 1, 8, 8), labels)}, ("ä", "b", "c"), seed=0, validation=0.2, test=0.2)


@pytest.fixture
def folder(tmp_path, source):
    write_source(tmp_path / "prepared", source)
    return tmp_path / "prepared"


def test_a_task_comes_back_bit_for_bit(folder, source):
    task, found = source.task(), read_task(folder)
    for split in SPLITS:
        mine, theirs = getattr(task, split), getattr(found, split)
        for name in ("images", "labels", "mean", "std"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
        assert mine.class_names == theirs.class_names


def test_statistics_keep_every_bit(folder):
    mean = torch.tensor([1 / 3]).nextafter(torch.tensor([1.0]))
    meta = (folder / "meta.json").read_text()
    (folder / "meta.json").write_text(re.sub(r'("mean": \[\s*)[\d.]+', rf"\g<1>{mean.tolist()[0]}", meta))
    assert torch.equal(read_split(folder, "train").mean, mean)


def test_changing_a_pixel_in_memory_does_not_change_the_file(folder):
    before = (folder / "train.images.npy").read_bytes()
    images = read_split(folder, "train").images
    images[0] = 255 - images[0]
    del images
    assert (folder / "train.images.npy").read_bytes() == before


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_only_the_images_asked_for_are_read(folder):
    count, path = 40_000, folder / "train.images.npy"
    sparse = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, 1, 64, 64))
    sparse[12_345] = 7
    del sparse
    np.save(folder / "train.labels.npy", np.arange(count) % 3)
    np.save(folder / "train.origin.npy", np.arange(count))
    data = read_split(folder, "train")
    rows = torch.arange(0, count, 4000) + 345
    pixels = data.pixels(rows)
    assert pixels.shape == (10, 1, 64, 64) and pixels[3].unique().tolist() == pytest.approx([7 / 255])
    assert data.inputs(rows).isfinite().all()
    mapped = Path("/proc/self/smaps").read_text().partition(str(path))[2]
    resident = int(re.search(r"^Rss:\s+(\d+) kB", mapped, re.MULTILINE)[1])
    # 160 MB in all. The kernel maps some neighbours of a page along with it.
    assert 40 <= resident <= 10 * 256


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a system may want memory for all that may be written")
def test_a_split_may_be_larger_than_the_memory_of_the_machine(folder):
    """More than a terabyte that holds nothing but its last image."""
    shape, path = (300, 1, 65_536, 65_536), folder / "train.images.npy"
    last = np.arange(100, dtype=np.uint8)
    with path.open("wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        size = file.tell() + int(np.prod(shape, dtype=np.int64))
    try:
        with path.open("r+b") as file:
            file.truncate(size)
            file.seek(-len(last), 2)
            file.write(last.tobytes())
    except OSError:
        pytest.skip("this file system knows no files of such a size")
    np.save(folder / "train.labels.npy", np.arange(shape[0]) % 3)
    np.save(folder / "train.origin.npy", np.arange(shape[0]))
    images = read_split(folder, "train").images
    assert images.shape == shape and images[-1, -1, -1, -100:].tolist() == last.tolist()
    images[0, 0, 0, 0] = 9
    with path.open("rb") as file:
        file.seek(size - int(np.prod(shape, dtype=np.int64)))
        assert file.read(1) == b"\0", "and may be written to, in memory alone"


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
