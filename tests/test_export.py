"""The forms of an exported set: what others find in them, round trips, folder names, and writes that fail."""

import json
import warnings
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import dasm
from dasm.errors import ConfigError
from dasm.export import class_folders, draft, export, write_images, write_parquet, write_safetensors
from tests.handmade import digests, stored_images, write_chain

FORMS = (".", "distilled.parquet", "distilled.safetensors", "images")


def exported(folder, segments, names=("cat", "dog")):
    write_chain(folder / "state", segments, names, recipe={"a": [0.1, None, True], "b": {"c": "é"}})
    (folder / "first").mkdir()
    export(folder / "first", dasm.load(folder / "state"))
    return folder / "first"


def extras(segment, which):
    """The segment with soft labels, a learned step size, both or nothing beside its images."""
    more = {}
    if which in ("soft", "both"):
        count, generator = len(segment.labels) * segment.factor**2, torch.Generator().manual_seed(segment.index)
        more["soft_labels"] = torch.rand(count, 2, generator=generator).softmax(1)
    if which in ("rate", "both"):
        more["learned_rate"] = 0.1 + 0.2 * (segment.index + 1)
    return replace(segment, **more)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("channels", "factors", "names", "stored"),
    [
        (3, (2, 2, 1), ("cat", "dog"), ("", "", "")),
        (1, (1,), ("b/../é", "a"), ("",)),
        (1, (3,), ("", "."), ("",)),
        (1, (1, 1), ("cat", "dog"), ("soft", "soft")),
        (3, (2, 2), ("cat", "dog"), ("both", "both")),
        (1, (2, 2), ("cat", "dog"), ("rate", "rate")),
        (3, (1, 2, 1), ("cat", "dog"), ("", "both", "rate")),
        (1, (2, 1, 2), ("cat", "dog"), ("soft", "", "rate")),
    ],
)
def test_export_load_export_is_byte_identical(tmp_path, form, channels, factors, names, stored):
    segments = [
        extras(stored_images(k, channels=channels, factor=f, ipc=k + 1), which)
        for k, (f, which) in enumerate(zip(factors, stored, strict=True))
    ]
    first = exported(tmp_path, segments, names)
    found = dasm.load(first / form)
    (tmp_path / "second").mkdir()
    export(tmp_path / "second", found)
    assert digests(tmp_path / "second") == digests(first)
    again = dasm.load(tmp_path / "state")
    assert found.provenance == again.provenance
    assert again.provenance[-1]["content"] == found.content
    for ours, state, made in zip(found.segments, again.segments, segments, strict=True):
        for name in (field.name for field in fields(made)):
            values = [getattr(segment, name) for segment in (ours, state, made)]
            if isinstance(values[-1], torch.Tensor):
                assert all(torch.equal(value, made_of) for value, made_of in pairwise(values)), name
                assert len({(value.dtype, value.shape) for value in values}) == 1, name
            else:
                assert values[0] == values[1] == values[2], name


@pytest.mark.parametrize("form", FORMS)
def test_a_prefix_of_an_export_is_the_export_of_the_prefix(tmp_path, form):
    first = exported(tmp_path, [stored_images(k) for k in range(3)])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    export(tmp_path / "a", dasm.load(first / form, prefix_ipc=4))
    export(tmp_path / "b", dasm.load(tmp_path / "state", prefix_ipc=4))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_columns_of_segments_are_joined_by_whoever_writes_them(tmp_path, monkeypatch):
    """Group by group: whole columns of more than 2 GiB cannot be."""
    write_chain(tmp_path, [stored_images(k) for k in range(3)])
    written = []
    monkeypatch.setattr("dasm.export.write_table", lambda _, columns, *__: written.append(columns))
    write_parquet(tmp_path / "set.parquet", dasm.load(tmp_path))
    assert {column.num_chunks for column in written[0].values()} == {3}


def test_the_same_set_gives_the_same_bytes_every_time(tmp_path):
    """Several keys of safetensors' metadata would come in a random order."""
    data = dasm.load(exported(tmp_path, [stored_images(0), stored_images(1)]))
    for number in range(8):
        write_safetensors(tmp_path / f"t{number}/x.safetensors", data)
        write_parquet(tmp_path / f"t{number}/x.parquet", data)
    assert len({str(digests(tmp_path / f"t{number}")) for number in range(8)}) == 1


def test_in_which_order_somebody_wrote_down_where_a_set_comes_from_does_not_count(tmp_path):
    first = exported(tmp_path, [extras(stored_images(k), "both") for k in range(2)])
    data = dasm.load(first)
    backwards = tuple(dict(reversed(recorded.items())) for recorded in data.provenance)
    (tmp_path / "second").mkdir()
    export(tmp_path / "second", replace(data, provenance=backwards))
    assert digests(tmp_path / "second") == digests(first)


# datasets and what it loads warn about things that are not ours.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("factors", [(2, 2), (2, 1)])
def test_hugging_face_datasets_opens_the_parquet_file(tmp_path, monkeypatch, factors):
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")}.items():
        monkeypatch.setenv(name, value)
    from datasets import load_dataset, utils

    utils.disable_progress_bars()
    segments = [stored_images(k, factor=factor) for k, factor in enumerate(factors)]
    first = exported(tmp_path, segments)
    found = load_dataset(
        "parquet", data_files=str(first / "distilled.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert found.features["label"].names == ["cat", "dog"]
    images = torch.cat([segment.images for segment in segments])
    assert [np.array(row["image"]).tobytes() for row in found] == [
        image.permute(1, 2, 0).numpy().tobytes() for image in images
    ]
    assert found["label"] == [0, 0, 1, 1] * 2
    assert found["segment"] == [0] * 4 + [1] * 4
    assert found["factor"] == [factors[0]] * 4 + [factors[1]] * 4


def test_the_tensors_are_plain_for_others(tmp_path):
    segments = [stored_images(0), stored_images(1, ipc=3)]
    tensors = load_file(exported(tmp_path, segments) / "distilled.safetensors")
    assert torch.equal(tensors["images"], torch.cat([segment.images for segment in segments]))
    assert tensors["labels"].tolist() == [0, 0, 1, 1, 0, 0, 0, 1, 1, 1]
    assert set(tensors) == {"images", "labels", "sources.0", "sources.1"}


@pytest.mark.parametrize("names", [("cat", "dog"), ("dog", "cat"), tuple(str(c) for c in range(11)), ("a/b", "..")])
def test_torchvision_reads_the_images_with_the_classes_of_the_set(tmp_path, names):
    """It numbers sorted folders; the sets of the field that could not be reproduced had another order (peers 3.1)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.datasets import ImageFolder
    segments = [stored_images(k, classes=len(names), ipc=2) for k in range(2)]
    found = ImageFolder(str(exported(tmp_path, segments, names) / "images"))
    expected = sorted(
        (label, index, image.permute(1, 2, 0).numpy().tobytes())
        for index, segment in enumerate(segments)
        for image, label in zip(segment.images, segment.labels.tolist(), strict=True)
    )
    got = [(label, np.array(image).tobytes()) for image, label in found]
    assert sorted(got) == sorted((label, pixels) for label, _, pixels in expected)
    assert [label for label, _ in got] == [label for label, _, _ in expected]


def test_pictures_are_named_by_class_segment_and_number(tmp_path):
    first = exported(tmp_path, [stored_images(0, ipc=1), stored_images(11, ipc=2)])
    names = sorted(str(file.relative_to(first / "images")) for file in (first / "images").rglob("*.png"))
    assert names == [f"{name}/{file}.png" for name in ("cat", "dog") for file in ("000-0000", "011-0000", "011-0001")]
    description = json.loads((first / "images/set.json").read_text())
    assert description["class_names"] == ["cat", "dog"] and description["std"] == [0.25] * 3
    assert [entry["factor"] for entry in description["segments"]] == [2, 2]


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["cat", "dog"], ["cat", "dog"]),
        (["0", "1", "2"], ["0", "1", "2"]),
        (["oak-tree", "pine_tree"], ["oak-tree", "pine_tree"]),
        (["dog", "cat"], ["0-dog", "1-cat"]),
        ([str(c) for c in range(11)], [f"{c:02d}-{c}" for c in range(11)]),
        (["a/b", "c"], ["0-a_b", "1-c"]),
        (["..", "c"], ["0-__", "1-c"]),
        (["", "c"], ["0-", "1-c"]),
        (["Cat", "cat"], ["0-Cat", "1-cat"]),
        (["caf\u00e9", "cafe\u0301"], ["0-caf\u00e9", "1-cafe_"]),
        ([".hidden", "c"], ["0-_hidden", "1-c"]),
        (["ends.", "f"], ["0-ends_", "1-f"]),
        (["a" * 61, "b"], ["0-" + "a" * 60, "1-b"]),
    ],
)
def test_class_folders(names, folders):
    assert class_folders(names) == folders


@given(st.lists(st.text(max_size=8), min_size=2, max_size=12, unique=True))
def test_class_folders_are_distinct_sorted_and_stay_where_they_are(names):
    folders = class_folders(names)
    assert sorted(folders) == folders
    assert len({folder.casefold() for folder in folders}) == len(names)
    assert all(folder not in (".", "..") and not set(folder) & set('/\\:\0\n*?"<>|') for folder in folders)


@pytest.mark.parametrize("there", ["a file", "a folder"])
def test_a_folder_in_use_is_left_alone(tmp_path, there):
    data = dasm.load(exported(tmp_path, [stored_images(0)]))
    target = tmp_path / "mine"
    if there == "a file":
        target.write_text("precious")
    else:
        target.mkdir()
        (target / "precious").write_text("")
    before = digests(tmp_path)
    with pytest.raises(ConfigError, match=rf"^{target}: must be a new or an empty folder, got "):
        write_images(target, data)
    assert digests(tmp_path) == before


def test_an_empty_folder_is_filled(tmp_path):
    data = dasm.load(exported(tmp_path, [stored_images(0)]))
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "empty", data)
    assert dasm.load(tmp_path / "empty").content == data.content


def test_a_draft_that_fails_leaves_nothing(tmp_path):
    def fail():
        with draft(tmp_path / "out") as new:
            (new / "half").write_text("")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    rule = rf"^{tmp_path}/file/out: must be a folder that can be written \(.+\)$"
    with pytest.raises(ConfigError, match=rule), draft(tmp_path / "file/out"):
        pass
