import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dasm.data.tensor import TensorFile
from dasm.errors import ConfigError

LABELS = torch.tensor([0, 1] * 10)
IMAGES = torch.arange(20, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 2, 4).contiguous()


def load(tmp_path, names=None, seed=0, **tensors):
    metadata = None if names is None else {"class_names": names if isinstance(names, str) else json.dumps(names)}
    tensors = {"images": IMAGES, "labels": LABELS} | tensors
    path = tmp_path / "set.safetensors"
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path, metadata)
    return TensorFile(path=str(path)).load(seed)


def refusal(tmp_path, **options):
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{tmp_path}/set.safetensors: ")
    return message.removeprefix(f"{tmp_path}/set.safetensors: ")


def truth(part):
    return {int(image[0, 0, 0]): int(label) for image, label in zip(part.images, part.labels, strict=True)}


def test_8_bit_images_are_split_by_seed_and_class(tmp_path):
    task = load(tmp_path)
    parts = [truth(part) for part in (task.train, task.validation, task.test)]
    assert [len(part) for part in parts] == [14, 2, 4]
    assert parts[0] | parts[1] | parts[2] == {i: i % 2 for i in range(20)}
    assert task.train.image_shape == (3, 2, 4) and task.train.class_names == ("0", "1")
    assert truth(load(tmp_path).test) == parts[2] != truth(load(tmp_path, seed=1).test)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floating_point_is_rounded_to_8_bits(tmp_path, dtype):
    exact = torch.tensor([0.0, 0.25, 0.5, 1.0], dtype=dtype)
    images = exact[torch.arange(20) % 4][:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    found = [truth(part) for part in vars(load(tmp_path, images=images)).values()]
    assert set().union(*found) == {0, 64, 128, 255}


def test_test_images_are_the_benchmark(tmp_path):
    task = load(tmp_path, test_images=IMAGES[:3] + 100, test_labels=torch.tensor([1, 1, 0], dtype=torch.uint8))
    assert truth(task.test) == {100: 1, 101: 1, 102: 0}
    assert (len(task.train), len(task.validation)) == (18, 2)


def test_class_names_come_from_the_metadata(tmp_path):
    assert load(tmp_path, names=["cat", "dog"]).test.class_names == ("cat", "dog")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.001, 1.001])
def test_pixels_that_are_none_are_refused_with_their_image(tmp_path, value):
    images = torch.rand(20, 1, 3, 3)
    images[13, 0, 2, 1] = value
    assert refusal(tmp_path, images=images) == f"images[13] must have pixels in [0, 1], got {images[13, 0, 2, 1]}"


def test_the_image_is_counted_over_all_blocks(tmp_path):
    images = torch.zeros(600, 1, 1, 1)
    images[555] = torch.nan
    message = refusal(tmp_path, images=images, labels=torch.arange(600) % 2)
    assert message == "images[555] must have pixels in [0, 1], got nan"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"images": None}, "must have a tensor 'images', got labels"),
        ({"labels": None}, "must have a tensor 'labels', got images"),
        ({"test_labels": LABELS.clone()}, "must have a tensor 'test_images', got images, labels, test_labels"),
        ({"labels": LABELS[:-1].clone()}, "must have a label for each of 20 images, got 19"),
        ({"labels": LABELS.float()}, "labels must be n integers, got F32 [20]"),
        ({"labels": LABELS[:, None]}, "labels must be n integers, got I64 [20, 1]"),
        ({"images": IMAGES[0]}, "images must be n x 1 or 3 x h x w, one of U8, F16, BF16, F32, F64, got U8 [3, 2, 4]"),
        ({"images": IMAGES.int()}, "images must be n x 1 or 3 x h x w, one of U8, F16, BF16, F32, F64, got I32"),
        ({"images": IMAGES[:, :2].clone()}, "images must be n x 1 or 3 x h x w, one of"),
        ({"names": ["cat", "dog", "cat"]}, "class names must differ, got 'cat' and 'cat'"),
        ({"names": "{"}, "class_names must be a JSON list, got '{'"),
        ({"names": "3"}, "class_names must be a JSON list, got '3'"),
        ({"names": ["cat", "dog", "eel"]}, "must have training images of every class, got none of 'eel'"),
        ({"labels": LABELS.clone().index_fill(0, torch.tensor(5), -1)}, "labels must be in [0, 2), got -1"),
        (
            {"labels": LABELS * 10**12},
            "labels must count the classes from 0, of which none is without images, got 1000000000000"
            f" ({len(LABELS)} images)",
        ),
        ({"labels": LABELS * 0}, "must have at least 2 classes, got 1 (0)"),
        ({"names": ["cat", "dog"], "labels": LABELS * 2}, "labels must be in [0, 2), got 2"),
        (
            {"test_images": IMAGES[:2, :1].clone(), "test_labels": LABELS[:2].clone()},
            "test_images must have the shape of images (3, 2, 4), got (1, 2, 4)",
        ),
        (
            {"test_images": IMAGES[:2].clone(), "test_labels": torch.tensor([0, 2])},
            "labels must be in [0, 2), got 2",
        ),
    ],
)
def test_tensors_that_are_no_data_set_are_refused(tmp_path, options, rule):
    assert refusal(tmp_path, **options).startswith(rule)


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "garbage"])
def test_a_damaged_file_is_named(tmp_path, damage):
    load(tmp_path)
    path = tmp_path / "set.safetensors"
    whole = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes({"empty": b"", "half": whole[: len(whole) // 2], "garbage": b"x" * 99}[damage])
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable safetensors file \([^\n]*\)$"):
        TensorFile(path=str(path)).load(0)


@pytest.mark.parametrize("options", [{"test": 0.0}, {"validation": 1.0}, {"test": 0.5, "validation": 0.5}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        TensorFile(path="x", **options)


def test_every_half_precision_level_goes_to_the_nearest_8_bit_one(tmp_path):
    """In 16 bits, 255 times a pixel is itself rounded, sometimes to the other side of a half."""
    halves = torch.arange(0x3C00, dtype=torch.int16).view(torch.float16)  # all from 0 to below 1
    path = tmp_path / "set.safetensors"
    save_file({"images": halves.reshape(20, 3, 16, 16), "labels": LABELS}, path)
    found = np.concatenate([block() for block in TensorFile(path=str(path)).open(0).blocks()])
    expected = np.round(halves.double().numpy() * 255)
    assert (found.flatten() == expected).all()
