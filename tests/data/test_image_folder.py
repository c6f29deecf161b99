from pathlib import Path

import pytest

from dasm.data.image_folder import ImageFolder
from dasm.errors import ConfigError
from tests.pictures import encode, fill, grey, levels, png_that_claims

CLASSES = ("cat", "dog")


def layout(*splits, start=0, count=5):
    """A level for each file, all different: split after split, class after class."""
    paths = [f"{split}{name}/{i}.png" for split in splits for name in CLASSES for i in range(count)]
    return {path: start + level for level, path in enumerate(paths)}


def load(root, seed=0, **options):
    return ImageFolder(**{"root": str(root), "color": "grey"} | options).load(seed)


def refusal(root, **options):
    with pytest.raises(ConfigError) as caught:
        load(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def truth(files, prefix=""):
    return {(level, int("dog/" in path)) for path, level in files.items() if path.startswith(prefix)}


def test_without_split_folders_images_are_split_by_seed_and_class(tmp_path):
    files = layout("", count=10)
    fill(tmp_path, files)
    task = load(tmp_path, test=0.3, validation=0.2)
    parts = [levels(part) for part in (task.train, task.validation, task.test)]
    assert [len(part) for part in parts] == [10, 4, 6]
    assert set().union(*parts) == truth(files)
    for part in parts:
        assert part == sorted(part)
        assert sum(label for _, label in part) == len(part) / 2
    assert task.train.class_names == CLASSES
    assert levels(load(tmp_path).test) == levels(load(tmp_path).test) != levels(load(tmp_path, seed=1).test)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_one_held_out_folder_is_the_benchmark(tmp_path, name):
    files = layout("train/", f"{name}/")
    fill(tmp_path, files)
    task = load(tmp_path, validation=0.2)
    assert levels(task.test) == sorted(truth(files, name + "/"))
    assert set(levels(task.train)) | set(levels(task.validation)) == truth(files, "train")
    assert (len(task.train), len(task.validation)) == (8, 2)


def test_beside_a_test_folder_val_is_for_choices(tmp_path):
    files = layout("train/", "val/", "test/")
    fill(tmp_path, files)
    task = load(tmp_path)
    for part, name in ((task.train, "train/"), (task.validation, "val/"), (task.test, "test/")):
        assert levels(part) == sorted(truth(files, name))


def test_classes_are_in_the_order_of_their_names_by_code_point(tmp_path):
    names = ["b", "a", "B", "10", "9", "é", "f"]
    fill(tmp_path, {f"{name}/{i}.png": 10 * level + i for level, name in enumerate(names) for i in range(3)})
    task = load(tmp_path)
    assert task.train.class_names == ("10", "9", "B", "a", "b", "f", "é")
    named = {names[level // 10]: task.train.class_names[label] for level, label in levels(task.train)}
    assert named == {name: name for name in names}


def test_classes_may_be_unbalanced_and_many(tmp_path):
    fill(tmp_path, {f"{label:03}/{i}.png": label for label in range(20) for i in range(3 + label)})
    task = load(tmp_path)
    assert task.train.num_classes == 20
    assert all(level == label for level, label in levels(task.train))
    assert [int((part.labels == 0).sum()) for part in (task.train, task.validation, task.test)] == [1, 1, 1]


def test_images_of_mixed_sizes_and_modes_are_resized_and_cut(tmp_path):
    fill(tmp_path, layout(""))
    (tmp_path / "cat/0.png").write_bytes(encode(grey(77, 9, 30), mode="RGBA"))
    (tmp_path / "cat/1.png").write_bytes(encode(grey(77, 30, 9), "JPEG"))
    task = load(tmp_path, size=8, color="rgb")
    assert task.train.image_shape == (3, 8, 8)
    assert sum((part.images == 77).all(dim=(1, 2, 3)).sum() for part in (task.train, task.validation, task.test)) == 2


def test_images_of_mixed_sizes_without_a_size_are_refused_with_the_way_out(tmp_path):
    fill(tmp_path, layout(""))
    (tmp_path / "dog/3.png").write_bytes(encode(grey(1, 6, 5)))
    rule = "must be 4 x 4 pixels like the first image, got 5 x 6 (with `size`, images are resized and cut to one)"
    assert refusal(tmp_path) == f"{tmp_path}/dog/3.png: {rule}"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "0 bytes"),
        (b"just text", "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"),
        (encode(grey(1))[:-20], "image file is truncated"),
    ],
)
def test_a_damaged_image_is_named(tmp_path, content, reason):
    fill(tmp_path, layout(""))
    (tmp_path / "dog/3.png").write_bytes(content)
    assert refusal(tmp_path) == f"{tmp_path}/dog/3.png: must be a readable image ({reason})"


def test_a_name_of_two_lines_is_said_in_one(tmp_path):
    fill(tmp_path, layout(""))
    (tmp_path / "dog/a\nb.png").write_bytes(b"")
    assert refusal(tmp_path) == rf"{tmp_path}/dog/a\nb.png: must be a readable image (0 bytes)"


def test_all_damaged_images_are_named_in_one_line(tmp_path):
    files = layout("")
    fill(tmp_path, files)
    first, *_, last = files
    (tmp_path / first).write_bytes(b"")
    (tmp_path / last).write_bytes(encode(grey(1, 6, 5)))
    (tmp_path / "dog/0.png").write_bytes(b"just text")
    readable, size = "must be a readable image", "(with `size`, images are resized and cut to one)"
    assert refusal(tmp_path).split("; ") == [
        f"{tmp_path}/cat/0.png: {readable} (0 bytes)",
        f"{tmp_path}/dog/0.png: {readable} (none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP)",
        f"{tmp_path}/dog/4.png: must be 4 x 4 pixels like the first image, got 5 x 6 {size}",
    ]


@pytest.mark.parametrize("options", [{}, {"size": 4}])
def test_of_many_damaged_images_ten_are_named(tmp_path, options):
    files = layout("", count=8)
    fill(tmp_path, files)
    for file in files:
        (tmp_path / file).write_bytes(b"")
    said = refusal(tmp_path, **options)
    assert [f"{tmp_path}/{file}:" in said for file in files] == [True] * 10 + [False] * 6
    assert said.endswith(" (these are the first 10)")


def test_images_that_may_not_be_read_are_named_with_the_others(tmp_path, monkeypatch):
    """As root may read everything, the system's answer is made up."""
    fill(tmp_path, layout(""))

    def refuse(path):
        if path.endswith("1.png"):
            raise ConfigError(f"{path}: no")
        return Path(path).read_bytes()

    monkeypatch.setattr("dasm.images.folders.read_bytes", refuse)
    assert refusal(tmp_path, size=4) == f"{tmp_path}/cat/1.png: no; {tmp_path}/dog/1.png: no"


def test_a_decompression_bomb_is_named(tmp_path):
    fill(tmp_path, layout(""))
    (tmp_path / "dog/3.png").write_bytes(png_that_claims(20_000, 20_000))
    assert refusal(tmp_path).startswith(f"{tmp_path}/dog/3.png: must have at most 89478485 pixels")


def test_an_empty_class_folder_is_named(tmp_path):
    fill(tmp_path, layout("train/", "test/"))
    (tmp_path / "train/eel").mkdir()
    (tmp_path / "test/eel").mkdir()
    (tmp_path / "train/eel/notes.txt").touch()
    assert refusal(tmp_path).startswith(f"{tmp_path}/train/eel: must hold images (.bmp, ")


def test_splits_with_other_classes_are_refused(tmp_path):
    fill(tmp_path, layout("train/", "test/") | {"test/eel/1.png": 3})
    rule = f"must have the class folders of {tmp_path}/train, but not so 'eel'"
    assert refusal(tmp_path) == f"{tmp_path}/test: {rule}"


@pytest.mark.parametrize(
    "names", [("dev", "train"), ("eval", "train"), ("a", "b"), ("fold1", "fold2"), ("Dev", "Train", "eval")]
)
def test_folders_that_look_like_splits_of_other_names_are_refused_with_the_way_out(tmp_path, names):
    """As classes they would have been distilled without a word."""
    fill(tmp_path, layout(*(f"{name}/" for name in names)))
    got = f"got {names[0]!r} and {names[1]!r}, which both hold folders 'cat' and 'dog'"
    hint = "(if they are classes, say only_classes: true)"
    assert refusal(tmp_path) == f"{tmp_path}: must call its splits train and test (and val), {got} {hint}"
    task = load(tmp_path, only_classes=True)
    assert task.train.class_names == names


def test_splits_that_do_not_have_all_classes_look_like_splits_all_the_same(tmp_path):
    fill(tmp_path, layout("train/", "dev/") | {"train/eel/0.png": 1, "dev/fox/0.png": 1})
    assert "got 'dev' and 'train'" in refusal(tmp_path)


@pytest.mark.parametrize(
    "files",
    [
        {f"{name}/{i}.png": i for name in ("dev", "eval", "ops") for i in range(4)},
        {f"{name}/{side}/{i}.png": i for name in ("dev", "train") for side in ("images",) for i in range(4)},
        {f"{name}/{side}/{i}.png": i for name in ("dev", "ops") for side in (name + "1", name + "2") for i in range(4)},
        {f"{name}/{i}.png": i for name in ("dev", "train") for i in ("l/0", "r/0", "0", "1", "2")},
    ],
    ids=["names", "one folder", "other folders", "images beside folders"],
)
def test_classes_called_like_splits_and_folders_in_classes_are_classes(tmp_path, files):
    fill(tmp_path, dict.fromkeys(files, 1))
    assert set(load(tmp_path).train.class_names) == {file.partition("/")[0] for file in files}


def test_classes_may_be_called_like_any_split_if_one_says_so(tmp_path):
    fill(tmp_path, {f"{name}/{i}.png": 1 for name in ("invalid", "valid") for i in range(4)})
    assert refusal(tmp_path) == f"{tmp_path}: must have train beside valid, got none"
    assert load(tmp_path, only_classes=True).train.class_names == ("invalid", "valid")


def test_one_class_only_is_refused(tmp_path):
    fill(tmp_path, {"cat/1.png": 1, "cat/2.png": 2})
    assert refusal(tmp_path) == f"{tmp_path}: must have at least 2 classes, got 1 (cat)"


def test_a_class_too_small_to_be_split_is_named(tmp_path):
    fill(tmp_path, layout("") | {"eel/1.png": 1, "eel/2.png": 2})
    assert (
        refusal(tmp_path)
        == f"{tmp_path}: must have more than 1 images of class 'eel' to hold 1 out of those that are left, got 1"
    )


def test_names_that_look_the_same_are_refused(tmp_path):
    fill(tmp_path, {f"{name}/{i}.png": 1 for name in ("café", "cafe\u0301") for i in range(3)})
    assert refusal(tmp_path).startswith(f"{tmp_path}: class names must differ, got ")


@pytest.mark.parametrize("present", [[], ["train/cat/1.png"], ["image.png"]])
def test_a_folder_that_is_no_data_set_is_refused(tmp_path, present):
    fill(tmp_path, dict.fromkeys(present, 1))
    assert refusal(tmp_path).startswith(f"{tmp_path}: must have ")


def test_a_missing_folder_is_named(tmp_path):
    assert refusal(tmp_path / "x") == f"{tmp_path}/x: must be a readable folder (No such file or directory)"


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"test": 0.0}, {"test": 1.0}, {"validation": 0.0}, {"test": 0.5, "validation": 0.5}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        ImageFolder(root="x", **options)
