import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dasm.data.parquet import Parquet
from dasm.errors import ConfigError

LABELS = [0, 1, 0, 1, 0, 1]


def png(pixels, mode=None):
    buffer = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(buffer, format="PNG")
    return buffer.getvalue()


def grey(level, side=4):
    return np.full((side, side), level, dtype=np.uint8)


def encoded(count=6, start=10):
    return [png(grey(start + i)) for i in range(count)]


def write(path, images, labels=LABELS, names=None, struct=True, image_column="image", label_column="label"):
    column = pa.array([{"bytes": data, "path": "/never/read"} for data in images]) if struct else pa.array(images)
    labels = labels if isinstance(labels, pa.Array) else pa.array(labels, pa.int64())
    table = pa.table({image_column: column, label_column: labels})
    if names is not None:
        feature = {label_column: {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": feature}})})
    pq.write_table(table, path)


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "train.parquet", encoded(), names=["cat", "dog"])
    write(tmp_path / "test.parquet", encoded(start=100), names=["cat", "dog"])
    return tmp_path


def load(folder, **options):
    return Parquet(**{"root": str(folder), "validation": 0.3, "color": "grey"} | options).load(0)


def levels(data):
    return dict(zip(data.images[:, 0, 0, 0].tolist(), data.labels.tolist(), strict=True))


def refusal(folder, **options):
    with pytest.raises(ConfigError) as caught:
        load(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_images_and_classes_are_read_and_split(folder):
    task = load(folder)
    assert levels(task.train) | levels(task.validation) == {10: 0, 11: 1, 12: 0, 13: 1, 14: 0, 15: 1}
    assert (len(task.train), len(task.validation)) == (4, 2)
    assert levels(task.test) == {100: 0, 101: 1, 102: 0, 103: 1, 104: 0, 105: 1}
    assert task.test.class_names == ("cat", "dog")
    assert task.train.image_shape == (1, 4, 4)


def test_the_seed_decides_what_is_held_out(folder):
    source = Parquet(root=str(folder), validation=0.3, color="grey")
    held = {tuple(sorted(levels(source.load(seed).validation))) for seed in range(8)}
    assert len(held) > 1
    assert levels(source.load(3).validation) == levels(source.load(3).validation)


def test_a_column_of_bytes_is_read_like_a_struct(folder):
    write(folder / "train.parquet", encoded(), names=["cat", "dog"], struct=False)
    assert levels(load(folder).train).items() <= {10: 0, 11: 1, 12: 0, 13: 1, 14: 0, 15: 1}.items()


@pytest.mark.parametrize("column", ["img", "picture"])
def test_the_image_column_is_found_or_named(folder, column):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), names=["cat", "dog"], image_column=column)
    assert len(load(folder, image_column=None if column == "img" else column).test) == 6


def test_the_label_column_may_have_another_name(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), names=["cat", "dog"], label_column="fine_label")
    assert load(folder, label_column="fine_label").test.class_names == ("cat", "dog")


def test_without_names_in_the_footer_classes_are_numbered(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded())
    assert load(folder).train.class_names == ("0", "1")


COLOURS = np.arange(48, dtype=np.uint8).reshape(4, 4, 3) * 5


@pytest.mark.parametrize("mode", [None, "P", "RGBA"])
def test_colour_images_of_any_mode_become_rgb_channel_by_channel(folder, mode):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", [png(COLOURS, mode)] * 6, names=["cat", "dog"])
    task = load(folder, color="rgb")
    with Image.open(io.BytesIO(png(COLOURS, mode))) as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert task.train.image_shape == (3, 4, 4)
    assert (task.train.images.numpy() == expected).all()


def test_grey_images_become_rgb_and_rgb_images_grey_when_asked(folder):
    assert levels(load(folder, color="rgb").test).keys() == set(range(100, 106))
    assert load(folder, color="rgb").test.image_shape == (3, 4, 4)
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", [png(np.stack([grey(80)] * 3, axis=2))] * 6, names=["cat", "dog"])
    task = load(folder, color="grey")
    assert task.test.image_shape == (1, 4, 4) and set(levels(task.test)) == {80}


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_missing_file_is_named(folder, split):
    (folder / f"{split}.parquet").unlink()
    assert refusal(folder).startswith(f"{folder}/{split}.parquet: no such file")


@pytest.mark.parametrize("content", [b"", b"garbage", b"PAR1" + b"\0" * 20 + b"PAR1"])
def test_a_file_that_is_not_parquet_is_named(folder, content):
    (folder / "test.parquet").write_bytes(content)
    assert refusal(folder).startswith(f"{folder}/test.parquet: must be a readable Parquet file (")


def test_a_truncated_file_is_named(folder):
    whole = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").write_bytes(whole[: len(whole) // 2])
    assert refusal(folder).startswith(f"{folder}/train.parquet: must be a readable Parquet file (")


def test_a_file_without_rows_is_named(folder):
    write(folder / "train.parquet", encoded(), names=["cat", "dog"])
    pq.write_table(pq.read_table(folder / "train.parquet").slice(0, 0), folder / "train.parquet")
    assert refusal(folder) == f"{folder}/train.parquet: must hold images, got 0 rows"


def test_a_missing_column_is_named_with_those_there_are(folder):
    write(folder / "train.parquet", encoded(), image_column="photo")
    assert refusal(folder) == f"{folder}/train.parquet: must have a column 'image', got photo, label"
    assert "must have a column 'fine', got photo, label" in refusal(folder, label_column="fine")


def test_labels_that_are_no_integers_are_refused(folder):
    write(folder / "train.parquet", encoded(), labels=pa.array(list("ababab")))
    assert refusal(folder) == f"{folder}/train.parquet: column 'label' must hold integers, got string"


def test_a_missing_label_is_refused(folder):
    write(folder / "train.parquet", encoded(), labels=pa.array([0, 1, None, 1, 0, 1], pa.int64()))
    assert refusal(folder).startswith(f"{folder}/train.parquet: column 'label' must hold integers")


@pytest.mark.parametrize("wrong", [-1, 2])
def test_a_label_out_of_range_is_refused_with_its_row(folder, wrong):
    write(folder / "test.parquet", encoded(), labels=[0, 1, 0, wrong, 0, 1], names=["cat", "dog"])
    message = refusal(folder)
    assert message.startswith(f"{folder}/test.parquet: ") and "[0, 2)" in message and str(wrong) in message
    assert "row 3" in message


def test_images_of_different_sizes_are_refused_with_the_row(folder):
    write(folder / "train.parquet", [*encoded(4), png(grey(9, side=5)), png(grey(9))], names=["cat", "dog"])
    assert refusal(folder) == f"{folder}/train.parquet: row 4 must have shape (4, 4), got (5, 5)"


@pytest.mark.parametrize("struct", [True, False])
def test_a_missing_image_is_refused_with_its_row(folder, struct):
    write(folder / "train.parquet", [*encoded(2), None, *encoded(3)], names=["cat", "dog"], struct=struct)
    assert refusal(folder) == f"{folder}/train.parquet: row 2 must hold the bytes of an image, got none"


def test_an_image_that_is_only_a_path_is_not_followed(folder):
    (folder / "cat.png").write_bytes(png(grey(1)))
    rows = pa.array(
        [{"bytes": None, "path": str(folder / "cat.png")}] * 6,
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
    pq.write_table(pa.table({"image": rows, "label": pa.array(LABELS)}), folder / "train.parquet")
    assert refusal(folder) == f"{folder}/train.parquet: row 0 must hold the bytes of an image, got none"


def test_bytes_that_are_no_image_are_refused_with_their_row(folder):
    write(folder / "train.parquet", [*encoded(5), b"not an image"], names=["cat", "dog"])
    assert refusal(folder).startswith(f"{folder}/train.parquet: row 5 must be a readable image (")


NOISE = png(np.random.default_rng(0).integers(0, 256, (4, 4)).astype(np.uint8))


@pytest.mark.parametrize("cut", range(1, len(NOISE) - 24, 5))
def test_an_image_cut_off_anywhere_is_refused_with_its_row(folder, cut):
    write(folder / "train.parquet", [*encoded(1), NOISE[:cut], *encoded(4)], names=["cat", "dog"])
    assert refusal(folder).startswith(f"{folder}/train.parquet: row 1 must be a readable image (")


@given(st.integers(8, len(NOISE) - 1), st.integers(1, 255))
def test_a_damaged_byte_is_refused_with_its_row_or_read_over(tmp_path_factory, at, change):
    damaged = NOISE[:at] + bytes([NOISE[at] ^ change]) + NOISE[at + 1 :]
    folder = tmp_path_factory.mktemp("damaged")
    write(folder / "train.parquet", [*encoded(5), damaged], names=["cat", "dog"])
    write(folder / "test.parquet", encoded(), names=["cat", "dog"])
    try:
        load(folder)
    except ConfigError as error:
        assert str(error).startswith(f"{folder}/train.parquet: row 5 must ")


def test_a_class_without_a_training_image_is_refused_with_file_and_name(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), names=["cat", "dog", "eel"])
    message = refusal(folder)
    assert "'eel'" in message and str(folder) in message


def test_a_class_of_one_image_is_refused_with_file_and_number(folder):
    write(folder / "train.parquet", encoded(), labels=[0, 0, 0, 0, 0, 1], names=["cat", "dog"])
    message = refusal(folder)
    assert "class 1" in message and "got 1" in message and str(folder) in message


def test_splits_of_different_sizes_are_refused_with_the_file(folder):
    write(folder / "test.parquet", [png(grey(9, side=5))] * 6, names=["cat", "dog"])
    message = refusal(folder)
    assert "(1, 4, 4)" in message and "(1, 5, 5)" in message and str(folder) in message


def test_class_names_that_differ_between_the_splits_are_refused(folder):
    write(folder / "test.parquet", encoded(), names=["dog", "cat"])
    assert refusal(folder) == f"{folder}/test.parquet: must have the classes of train.parquet, got ('dog', 'cat')"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(folder, share):
    assert refusal(folder, validation=share) == f"validation must be in (0, 1), got {share}"
