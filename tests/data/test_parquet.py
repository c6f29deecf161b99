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
from dasm.images.reading import ImageReader

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


def test_a_missing_split_is_named(folder):
    train = (folder / "train.parquet").read_bytes()
    (folder / "train.parquet").unlink()
    assert refusal(folder) == f"{folder}: must have train beside test, got none"
    (folder / "test.parquet").unlink()
    message = f"{folder}: must hold train*.parquet and test*.parquet, or folders of them, got none"
    assert refusal(folder) == message
    (folder / "train.parquet").write_bytes(train)
    assert refusal(folder).startswith(f"{folder}: must have test or one of val, valid, validation beside train")


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


def test_labels_that_are_no_classes_but_numbers_of_something_else_are_refused(folder):
    """Names for all the numbers in between would fill the memory."""
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), labels=[10**12, 5, 7, 7, 5, 3])
    rule = "labels must count the classes from 0, of which none is without images, got 1000000000000"
    assert refusal(folder) == f"{folder}: {rule} (6 rows for training)"


def test_a_missing_column_is_named_with_those_there_are(folder):
    write(folder / "train.parquet", encoded(), image_column="photo")
    assert refusal(folder) == f"{folder}/train.parquet: must have a column 'image', got photo, label"
    write(folder / "train.parquet", encoded())
    assert refusal(folder, label_column="fine").endswith("must have a column 'fine', got image, label")


def test_labels_that_are_no_integers_are_refused(folder):
    write(folder / "train.parquet", encoded(), labels=pa.array(list("ababab")))
    assert refusal(folder) == f"{folder}/train.parquet: column 'label' must hold integers, got string, 0 missing"


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
    hint = "(with `size`, images are resized and cut to one)"
    rule = "row 4 must be 4 x 4 pixels like the first image, got 5 x 5"
    assert refusal(folder) == f"{folder}/train.parquet: {rule} {hint}"
    assert load(folder, size=3).train.image_shape == (1, 3, 3)


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
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": rows, "label": pa.array(LABELS)}), folder / f"{split}.parquet")
    assert refusal(folder).startswith(f"{folder}/train.parquet: row 0 must hold the bytes of an image, got none; ")


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


def test_a_class_of_one_image_is_refused_with_file_and_name(folder):
    write(folder / "train.parquet", encoded(), labels=[0, 0, 0, 0, 0, 1], names=["cat", "dog"])
    rule = "must have more than 1 images of class 'dog' to hold 1 out of those that are left, got 1"
    assert refusal(folder) == f"{folder}: {rule}"


def test_splits_of_different_sizes_are_refused_with_the_file(folder):
    write(folder / "test.parquet", [png(grey(9, side=5))] * 6, names=["cat", "dog"])
    rule = "row 0 must be 4 x 4 pixels like the first image, got 5 x 5"
    assert refusal(folder).startswith(f"{folder}/test.parquet: {rule} (")


def test_class_names_that_differ_between_the_splits_are_refused(folder):
    write(folder / "test.parquet", encoded(), names=["dog", "cat"])
    assert refusal(folder) == f"{folder}/test.parquet: must have the classes of train.parquet, got ('dog', 'cat')"


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(folder, share):
    assert refusal(folder, validation=share) == f"validation must be in (0, 1), got {share}"


SHARDS = {
    "numbered": ("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"),
    "hashed": ("train-00000-of-00002-a09b74.parquet", "train-00001-of-00002-77f3c1.parquet"),
    "plain": ("train0.parquet", "train1.parquet"),
    "folder": ("train/0000.parquet", "train/0001.parquet"),
}


def shard(folder, names):
    """Write the six training images as two files of three."""
    (folder / "train.parquet").unlink()
    for part, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        rows = slice(3 * part, 3 * part + 3)
        write(folder / name, encoded()[rows], LABELS[rows], names=["cat", "dog"])


@pytest.mark.parametrize("layout", SHARDS)
def test_many_files_are_one_set_in_the_order_of_their_names(folder, layout):
    whole = load(folder)
    shard(folder, SHARDS[layout])
    for split in ("train", "validation", "test"):
        mine, theirs = getattr(load(folder), split), getattr(whole, split)
        assert (mine.images == theirs.images).all() and (mine.labels == theirs.labels).all()


def test_the_benchmark_may_lie_in_many_files_too(folder):
    test = pq.read_table(folder / "test.parquet")
    (folder / "test.parquet").unlink()
    (folder / "test").mkdir()
    for part in range(3):
        pq.write_table(test.slice(2 * part, 2), folder / f"test/{part}.parquet")
    assert levels(load(folder).test) == {100: 0, 101: 1, 102: 0, 103: 1, 104: 0, 105: 1}


def test_a_missing_shard_is_noticed(folder):
    shard(folder, SHARDS["numbered"])
    (folder / SHARDS["numbered"][0]).unlink()
    assert refusal(folder) == f"{folder}: must hold all 00002 files of train, each once, got 1"


def test_a_shard_of_another_download_is_noticed(folder):
    shard(folder, SHARDS["numbered"])
    write(folder / "train-00001-of-00003.parquet", encoded(), names=["cat", "dog"])
    assert refusal(folder) == f"{folder}: must hold all 00002 files of train, each once, got 3"


@pytest.mark.parametrize("layout", SHARDS)
def test_two_layouts_side_by_side_are_refused(folder, layout):
    shard(folder, SHARDS[layout])
    write(folder / "train.parquet", encoded(), names=["cat", "dog"])
    message = refusal(folder)
    assert message.startswith(f"{folder}: must have one layout of train, got train.parquet and ")


def test_files_of_other_names_are_left_alone(folder):
    for name in ("training.parquet", "tests.parquet", "trainer-0.parquet", "extra.parquet"):
        (folder / name).write_bytes(b"not read")
    assert len(load(folder).test) == 6


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_validation_files_are_for_choices_or_the_benchmark_if_there_is_no_other(folder, name):
    write(folder / f"{name}.parquet", encoded(start=200), names=["cat", "dog"])
    task = load(folder)
    assert set(levels(task.validation)) == set(range(200, 206)) and len(task.train) == 6
    (folder / "test.parquet").unlink()
    task = load(folder)
    assert set(levels(task.test)) == set(range(200, 206)) and len(task.train) == 4


def test_a_shard_with_other_classes_is_named(folder):
    shard(folder, SHARDS["plain"])
    write(folder / "train1.parquet", encoded(), names=["cat", "eel"])
    assert refusal(folder) == f"{folder}/train1.parquet: must have the classes of train0.parquet, got ('cat', 'eel')"
    write(folder / "train1.parquet", encoded())
    assert refusal(folder) == f"{folder}/train1.parquet: must have the classes of train0.parquet, got None"


def test_without_names_the_classes_are_those_of_all_training_files(folder):
    shard(folder, SHARDS["plain"])
    write(folder / "train0.parquet", encoded(4), labels=[0, 0, 1, 1])
    write(folder / "train1.parquet", encoded(4, start=50), labels=[2, 2, 0, 1])
    write(folder / "test.parquet", encoded(2), labels=[0, 1])
    assert load(folder).test.class_names == ("0", "1", "2")
    write(folder / "test.parquet", encoded(2), labels=[0, 3])
    assert refusal(folder) == f"{folder}/test.parquet: row 1 must have a label in [0, 3), got 3"


def test_rows_are_counted_within_their_file(folder):
    shard(folder, SHARDS["plain"])
    write(folder / "train1.parquet", [*encoded(2), b"no image"], LABELS[3:], names=["cat", "dog"])
    assert refusal(folder).startswith(f"{folder}/train1.parquet: row 2 must be a readable image (")


def test_class_names_that_are_given_twice_are_refused(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), names=["cat", "cat"])
    assert refusal(folder) == f"{folder}: class names must differ, got 'cat' and 'cat'"


def test_a_single_class_is_refused(folder):
    for split in ("train", "test"):
        write(folder / f"{split}.parquet", encoded(), labels=[0] * 6)
    assert refusal(folder) == f"{folder}: must have at least 2 classes, got 1 (0)"


def test_a_path_that_climbs_out_of_the_folder_is_not_followed(folder):
    (folder.parent / "secret.png").write_bytes(png(grey(1)))
    rows = pa.array(
        [{"bytes": None, "path": "../secret.png"}] * 6, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    for split in ("train", "test"):
        pq.write_table(pa.table({"image": rows, "label": pa.array(LABELS)}), folder / f"{split}.parquet")
    assert refusal(folder).startswith(f"{folder}/train.parquet: row 0 must hold the bytes of an image, got none; ")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array(["../secret.png"] * 6), "string"),
        (pa.array([{"path": "../secret.png"}] * 6), "struct<path: string>"),
        (pa.array([[1, 2]] * 6), "list<element: int64>"),
    ],
)
def test_a_column_of_something_else_is_refused(folder, column, kind):
    pq.write_table(pa.table({"image": column, "label": pa.array(LABELS)}), folder / "train.parquet")
    rule = "column 'image' must hold the bytes of encoded images"
    assert refusal(folder) == f"{folder}/train.parquet: {rule}, got {kind}"


@pytest.mark.parametrize("footer", ["{", "3", '{"info": 3}', '{"info": {"features": {"label": {"names": 3}}}}'])
def test_a_footer_that_makes_no_sense_is_refused(folder, footer):
    table = pq.read_table(folder / "train.parquet").replace_schema_metadata({"huggingface": footer})
    pq.write_table(table, folder / "train.parquet")
    assert refusal(folder).startswith(f"{folder}/train.parquet: must have a Hugging Face footer that can be read (")


def test_a_damaged_page_is_named_however_late_it_is_read(folder):
    noisy = [png(np.random.default_rng(i).integers(0, 256, (4, 4)).astype(np.uint8)) for i in range(3000)]
    write(folder / "train.parquet", noisy, LABELS * 500, names=["cat", "dog"])
    whole = bytearray((folder / "train.parquet").read_bytes())
    whole[len(whole) // 2 : len(whole) // 2 + 4000] = bytes(4000)
    (folder / "train.parquet").write_bytes(whole)
    assert refusal(folder).startswith(f"{folder}/train.parquet: ")


def test_bytes_are_read_a_few_rows_at_a_time(folder, monkeypatch):
    monkeypatch.setattr("dasm.images.sources._BLOCK_IMAGES", 2)
    write(folder / "train.parquet", encoded(200), LABELS * 33 + [0, 1], names=["cat", "dog"])
    taken = []
    original = ImageReader.block
    monkeypatch.setattr(ImageReader, "block", lambda *args: taken.append(args[3]) or original(*args))
    load(folder)
    assert max(taken) == 2 and sum(taken) == 206


def test_a_row_group_larger_than_memory_is_read_piece_by_piece(folder):
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3)).astype(np.uint8)
    write(folder / "train.parquet", [png(noise)] * 120, LABELS * 20, names=["cat", "dog"])
    table = pq.read_table(folder / "train.parquet")
    pq.write_table(table, folder / "train.parquet", use_dictionary=False, compression="none", write_batch_size=8)
    del table
    assert (folder / "train.parquet").stat().st_size > 30_000_000
    source = Parquet(root=str(folder), size=8).open(0)
    before = pa.total_allocated_bytes()
    assert max(pa.total_allocated_bytes() - before for _ in source.blocks()) < 15_000_000


@pytest.mark.parametrize("length", [1, 2, 4, 256])
def test_a_damaged_image_is_named_by_its_row_whatever_the_size_of_a_block(folder, monkeypatch, length):
    monkeypatch.setattr("dasm.data.parquet.block_length", lambda *_: length)
    write(folder / "train.parquet", [*encoded(5), b"just text"], names=["cat", "dog"])
    assert refusal(folder).startswith(f"{folder}/train.parquet: row 5 must be a readable image (none of ")


def test_the_first_of_several_wrong_labels_is_named(folder):
    write(folder / "train.parquet", encoded(), labels=[0, 1, 7, 1, -1, 8], names=["cat", "dog"])
    assert refusal(folder) == f"{folder}/train.parquet: row 2 must have a label in [0, 2), got 7"
