"""Bad data through `python -m pipeline prepare`: one line that names file and reason, exit code 1, nothing written."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file

from dasm.images.prepare import write_source
from pipeline.__main__ import main
from pipeline.work import enough, fitting
from tests.graph import ROOT
from tests.handmade import digests
from tests.pictures import encode, fill, grey, noise, png_that_claims

FILES = {f"{name}/{i}.png": 10 * level + i for level, name in enumerate(("cat", "dog")) for i in range(5)}
NAMES = ("cat", "dog")
PICTURES = {"name": "image_folder", "root": "in", "size": 4, "color": "grey"}
PARQUET = {"name": "parquet", "root": "in", "color": "grey", "validation": 0.3}
TENSOR = {"name": "tensor", "path": "in/set.safetensors"}
IMAGENET = {"name": "imagenet_subset", "root": "in", "classes": "in/list.txt", "size": 4}
PHOTOGRAPH = encode(noise(40, 50, 3), "JPEG")


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty project; what the stage sets for its own process is undone."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.getLogger("PIL"), "level", logging.NOTSET)
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path])
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    fill(tmp_path / "in", FILES)
    return tmp_path


def study(data, images=1, networks=()):
    """Parameters, and what `check` would say of them: how many images of a class an arm starts from, its networks."""
    with Path("params.yaml").open("w") as file:
        YAML().dump({"seed": 0, "threads": 1, "data": data}, file)
    enough.NEEDS.parent.mkdir(parents=True, exist_ok=True)
    needs = [{"who": "arm x", "images": 1, "why": "1 for a segment"}]
    needs += [{"who": "control y", "images": images, "why": f"{images} for the whole set"}]
    enough.NEEDS.write_text(json.dumps(needs))
    named = [{"where": f"benchmark.networks[{n}]", "options": {"name": name}} for n, name in enumerate(networks)]
    fitting.NETWORKS.write_text(json.dumps(named))


def a_file(path, content):
    """A folder of pictures, one of which is something else."""

    def make():
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_bytes(content)
        return PICTURES

    return make


def empty_class():
    Path("in/eel").mkdir()
    return PICTURES


def one_class():
    for file in Path("in/dog").iterdir():
        file.unlink()
    Path("in/dog").rmdir()
    return PICTURES


def names_that_look_the_same():
    fill(Path("in"), {f"{name}/{i}.png": 1 for name in ("caf\u00e9", "cafe\u0301") for i in range(5)})
    return PICTURES


def class_listed_twice():
    Path("in/list.txt").write_text("n01\nn02\nn01\n")
    return IMAGENET


def loop():
    Path("in/dog/again").symlink_to(Path("in/dog").absolute())
    return PICTURES


def table(path, names=NAMES, labels=(0, 1) * 3, column="image", images=None):
    images = images or [{"bytes": encode(grey(i)), "path": None} for i in range(6)]
    columns = {column: pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))}
    feature = {"label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    pq.write_table(pa.table({**columns, "label": list(labels)}).replace_schema_metadata(metadata), path)


def parquet(**train):
    """Two files, the first of which is odd."""

    def make():
        table("in/train.parquet", **train)
        table("in/test.parquet", train.get("names", NAMES))
        return PARQUET

    return make


def shard_of_other_classes():
    table("in/train-00000-of-00002.parquet")
    table("in/train-00001-of-00002.parquet", names=("dog", "cat"))
    table("in/test.parquet")
    return PARQUET


def path_that_climbs_out():
    """The picture is there, but nobody looks."""
    Path("secret.png").write_bytes(encode(grey(1)))
    images = [{"bytes": encode(grey(i)), "path": None} for i in range(5)]
    return parquet(images=[*images, {"bytes": None, "path": "../secret.png"}])()


def tensor(images, labels=None):
    def make():
        save_file({"images": images, "labels": labels or torch.arange(20) % 2}, "in/set.safetensors")
        return TENSOR

    return make


def nan():
    images = torch.full((20, 1, 2, 2), 0.5)
    images[13, 0, 1, 0] = torch.nan
    return tensor(images)()


BAD = {
    "a truncated JPEG": (
        a_file("in/dog/3.jpg", PHOTOGRAPH[:-400]),
        "in/dog/3.jpg: must be a readable image (image file is truncated",
    ),
    "a file of no bytes": (a_file("in/dog/3.png", b""), "in/dog/3.png: must be a readable image (0 bytes)"),
    "text renamed": (
        a_file("in/dog/3.png", b"just text"),
        "in/dog/3.png: must be a readable image (none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)",
    ),
    "a decompression bomb": (
        a_file("in/dog/3.png", png_that_claims(30_000, 30_000)),
        "in/dog/3.png: must have at most 89478485 pixels (a decompression bomb)",
    ),
    "an empty class folder": (empty_class, "in/eel: must hold images (.bmp, "),
    "one class": (one_class, "in: must have at least 2 classes, got 1 (cat)"),
    "names that look the same": (names_that_look_the_same, "in: class names must differ, got "),
    "a class listed twice": (class_listed_twice, "in/list.txt: class names must differ, got 'n01' and 'n01'"),
    "a loop of links": (loop, "in/dog/again: must not lead back to a folder above it (a symbolic link in a loop)"),
    "a label outside": (
        parquet(labels=(0, 1, 0, 1, 2, 1)),
        "in/train.parquet: row 4 must have a label in [0, 2), got 2",
    ),
    "class names twice": (parquet(names=("cat", "cat")), "in: class names must differ, got 'cat' and 'cat'"),
    "no image column": (
        parquet(column="photograph"),
        "in/train.parquet: must have a column 'image', got photograph, label",
    ),
    "a shard of other classes": (
        shard_of_other_classes,
        "in/train-00001-of-00002.parquet: must have the classes of train-00000-of-00002.parquet, got ('dog', 'cat')",
    ),
    "a path that climbs out": (
        path_that_climbs_out,
        "in/train.parquet: row 5 must hold the bytes of an image, got none",
    ),
    "a pixel that is no number": (nan, "in/set.safetensors: images[13] must have pixels in [0, 1], got nan"),
    "a tensor file of text": (
        lambda: a_file("in/set.safetensors", b"just text")() and TENSOR,
        "in/set.safetensors: must be a readable safetensors file (",
    ),
    "Parquet cut off": (
        lambda: parquet()() and a_file("in/test.parquet", Path("in/test.parquet").read_bytes()[:-9])() and PARQUET,
        "in/test.parquet: must be a readable Parquet file (",
    ),
}


def refused(capsys):
    """The one line that it said; there is no file more or less, and none of another content, than before."""
    before = digests(Path())
    assert main(["prepare"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert digests(Path()) == before
    assert [path.name for path in Path().glob("data/*")] in (["blueprint"], ["blueprint", "real"])
    return said


@pytest.mark.parametrize("case", BAD)
@pytest.mark.usefixtures("project")
def test_bad_data_gets_one_line_and_leaves_nothing(capsys, case):
    make, expected = BAD[case]
    study(make())
    assert refused(capsys).startswith(f"error: {expected}")
    assert not Path("data/real").exists()


@pytest.mark.parametrize("opened", ["dasm.images.reading.open", "os.scandir"])
@pytest.mark.usefixtures("project")
def test_what_may_not_be_read_is_named(capsys, monkeypatch, opened):
    """As root may read everything, the system's answer is made up."""
    original = {"dasm.images.reading.open": open, "os.scandir": os.scandir}[opened]

    def refuse(path, *mode):
        if str(path) in ("in/dog/3.png", "in/dog"):
            raise PermissionError(13, "Permission denied")
        return original(path, *mode)

    study(PICTURES)
    monkeypatch.setattr(opened, refuse, raising=False)
    what = {
        "dasm.images.reading.open": "in/dog/3.png: must be a readable image",
        "os.scandir": "in/dog: must be a readable fo",
    }
    said = refused(capsys)
    assert said.startswith(f"error: {what[opened]}") and said.endswith("(Permission denied)")


@pytest.mark.usefixtures("project")
def test_good_data_is_prepared_and_stays_when_the_next_is_bad(capsys):
    study(PICTURES)
    assert main(["prepare"]) == 0
    assert {file.name for file in Path("data/real").iterdir()} > {"meta.json", "train.images.npy"}
    assert json.loads(Path("data/ledger/prepare.json").read_text())["stage"] == "prepare"
    capsys.readouterr()
    Path("in/dog/3.png").write_bytes(PHOTOGRAPH[:-400])
    before = digests(Path("data"))
    assert main(["prepare"]) == 1
    assert digests(Path("data")) == before


@pytest.mark.usefixtures("project")
def test_what_a_data_set_inside_others_is_refused_for_is_said_as_without_them(capsys):
    study({"name": "noisy", "of": {"name": "long_tailed", "factor": 2, "of": a_file("in/dog/3.png", b"just text")()}})
    assert refused(capsys).startswith("error: in/dog/3.png: must be a readable image (none of ")


@pytest.mark.usefixtures("project")
def test_labels_before_noise_are_there_as_long_as_there_is_noise():
    study({"name": "noisy", "share": 0.5, "of": PICTURES})
    assert main(["prepare"]) == 0
    noisy, truth = (np.load(f"data/real/train.{kind}.npy") for kind in ("labels", "truth"))
    assert np.bincount(truth[noisy != truth]).tolist() == [2, 2]
    study(PICTURES)
    assert main(["prepare"]) == 0
    assert not Path("data/real/train.truth.npy").exists()
    assert (np.load("data/real/train.labels.npy") == truth).all()


@pytest.mark.usefixtures("project")
def test_pillow_does_not_talk_beside_the_one_line(capsys, caplog):
    """It would log how many samples the header promises."""
    tag = b"\x15\x01\x03\x00\x01\x00\x00\x00"
    damaged = encode(noise(4, 4, 3), "TIFF").replace(tag + b"\x03\x00", tag + b"\xf6\x00")
    study(a_file("in/dog/3.tif", damaged)())
    assert refused(capsys).startswith("error: in/dog/3.tif: must be a readable image (")
    assert caplog.messages == []


@pytest.mark.usefixtures("project")
def test_the_command_says_it_in_one_line_and_exits_with_one():
    study(a_file("in/dog/3.png", b"just text")())
    done = subprocess.run(
        [sys.executable, "-m", "pipeline", "prepare"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (said,) = done.stderr.splitlines()
    assert said.startswith("error: in/dog/3.png: must be a readable image (none of ")
    assert not Path("data/real").exists() and not list(Path().glob("data/.*"))


def test_a_network_of_the_benchmark_that_is_too_large_for_the_pictures_is_named_before_anything_is_done(
    project, capsys
):
    study(PICTURES, networks=("mlp", "lenet"))
    assert main(["prepare"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        "error: benchmark.networks[1]: sides must be >= 12 for lenet, got (4, 4)"
    )
    assert not (project / "data/real").exists()


@pytest.mark.usefixtures("project")
def test_a_class_with_fewer_pictures_than_an_arm_starts_from_is_named_before_anything_is_read(capsys):
    study(PICTURES | {"size": 8}, images=4)  # five of each class, one for the test and one for validation
    fill(Path("in"), {"cat/5.png": 1})
    assert refused(capsys) == (
        "error: in: class 1 (dog) must have at least 4 training images for control y (4 for the whole set), got 3 of"
        " its 5 pictures (add pictures, or make ipc of the segments or matching.factor smaller)"
    )
    study(PICTURES | {"size": 8}, images=5)
    assert "got 3 of its 5 pictures, and too few in 2 classes in all (" in refused(capsys)
    study(PICTURES | {"size": 8}, images=3)
    assert main(["prepare"]) == 0


@pytest.mark.usefixtures("project")
def test_a_picture_that_comes_while_others_are_read_fails_the_stage(capsys, monkeypatch):
    """DVC hashes the folder after the stage, and would take it for one that has been read."""

    def write(*arguments, **more):
        write_source(*arguments, **more)
        fill(Path("in"), {"cat/late.png": 1})

    study(PICTURES)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.stages.prepare.write_source", write)
        assert main(["prepare"]) == 1
    said = "data: the files must stay as they are while they are read, got 'others at the end' (start again)"
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {said}"
    assert main(["prepare"]) == 0


@pytest.mark.usefixtures("project")
def test_all_damaged_pictures_are_named_at_once(capsys):
    for name in ("cat/1", "cat/3", "dog/2"):
        Path(f"in/{name}.png").write_bytes(b"")
    study(PICTURES)
    rule = "must be a readable image (0 bytes)"
    assert refused(capsys) == f"error: in/cat/1.png: {rule}; in/cat/3.png: {rule}; in/dog/2.png: {rule}"


@pytest.mark.usefixtures("project")
def test_without_a_blueprint_it_says_what_makes_one(capsys):
    study(PICTURES)
    enough.NEEDS.unlink()
    assert main(["prepare"]) == 1
    (said,) = capsys.readouterr().err.splitlines()
    assert said == "error: data/blueprint/needs.json: no such file (`dvc repro` makes what a stage reads)"
