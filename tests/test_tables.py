import io
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dasm.errors import ConfigError
from dasm.evaluate import Accuracy
from dasm.images.png import from_png, to_png
from dasm.machine.counts import Counts
from dasm.storage import parquet
from dasm.storage.files import write_atomically
from dasm.storage.parquet import read_table, write_table
from dasm.storage.results import pass_on, write_results
from dasm.tables import (
    read_segment,
    read_segments,
    read_window,
    segment_columns,
    write_difficulty,
    write_segment,
)
from dasm.types import Segment
from pipeline.reporting import artefacts
from tests.handmade import difficulty_of, write_chain

NAMES = ("cat", "dog")


def segment(index=0, channels=3, lower=0.1, factor=2):
    generator = torch.Generator().manual_seed(index)
    return Segment(
        images=torch.randint(0, 256, (4, channels, 5, 6), generator=generator, dtype=torch.uint8),
        labels=torch.tensor([0, 0, 1, 1]),
        index=index,
        factor=factor,
        sources=torch.arange(4 * factor**2).reshape(4, -1) + 2**33,
        lower=lower,
        upper=2 / 3,
        iterations=7,
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_a_segment_comes_back_bit_for_bit(tmp_path, channels):
    written = segment(index=3, channels=channels)
    write_segment(tmp_path / "s3.parquet", written, NAMES, {"arm": "dasm"})
    found = read_segment(tmp_path / "s3.parquet")
    assert torch.equal(found.images, written.images)
    assert torch.equal(found.labels, written.labels) and torch.equal(found.sources, written.sources)
    for name in ("index", "factor", "iterations"):
        assert getattr(found, name) == getattr(written, name)


def test_the_window_of_a_segment_comes_back_bit_for_bit(tmp_path):
    written = segment(lower=0.1)
    write_segment(tmp_path / "s0.parquet", written, NAMES, {})
    found = read_segment(tmp_path / "s0.parquet")
    assert (found.lower, found.upper) == (written.lower, written.upper)


def test_the_same_content_gives_the_same_bytes_under_any_name(tmp_path):
    for name in ("a/s0.parquet", "b/other.parquet"):
        write_segment(tmp_path / name, segment(), NAMES, {"b": 1, "a": 2} if name[0] == "a" else {"a": 2, "b": 1})
    assert (tmp_path / "a/s0.parquet").read_bytes() == (tmp_path / "b/other.parquet").read_bytes()


def test_segments_of_a_folder_come_in_the_order_of_their_numbers(tmp_path):
    write_chain(tmp_path, [segment(index) for index in (0, 1, 2, 10)])
    (tmp_path / "samples.parquet").write_bytes(b"of somebody else")
    assert [found.index for found in read_segments(tmp_path)] == [0, 1, 2, 10]


def test_a_state_without_segments_is_empty(tmp_path):
    assert read_segments(tmp_path) == []


# datasets and what it loads warn about things that are not ours.
@pytest.mark.filterwarnings("ignore")
def test_hugging_face_datasets_opens_a_state(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    from datasets import load_dataset, utils

    utils.disable_progress_bars()
    written = [segment(0), segment(1)]
    write_chain(tmp_path, written, NAMES, arm="dasm")
    found = load_dataset(
        "parquet", data_files=str(tmp_path / "*.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert found.features["label"].names == ["cat", "dog"]
    images, labels = (torch.cat([getattr(part, name) for part in written]) for name in ("images", "labels"))
    for row, image, label in zip(found, images, labels, strict=True):
        assert row["image"].mode == "RGB" and row["image"].size == (6, 5)
        assert row["image"].tobytes() == image.permute(1, 2, 0).numpy().tobytes()
        assert row["label"] == label
    assert found[1]["sources"] == written[0].sources[1].tolist()
    assert found["segment"] == [0] * 4 + [1] * 4


def test_difficulty_comes_back_as_weights_and_ranks(tmp_path):
    difficulty = difficulty_of([0.3, 0.1, 0.2, 5.0, 4.0], [0, 0, 0, 1, 1])
    weights = torch.tensor([0.1, 1.0, 0.0, 0.5, 2.0])
    write_difficulty(tmp_path / "d.parquet", difficulty, weights, {"state": 1})
    found, rank = read_window(tmp_path / "d.parquet")
    assert torch.equal(found, weights) and torch.equal(rank, difficulty.rank)
    table, meta = read_table(tmp_path / "d.parquet", "difficulty/1")
    assert meta == {"state": 1}
    assert table["index"].to_pylist() == [0, 1, 2, 3, 4]
    assert table["score"].to_pylist() == difficulty.score.tolist()
    assert table["label"].to_pylist() == [0, 0, 0, 1, 1]


def test_results_are_one_row_per_network(tmp_path):
    results = {
        "convnet": [
            Accuracy(seed=0, validation=0.5, test=0.25, right=(True, False, False, False)),
            Accuracy(seed=1, validation=0.6, test=0.5, right=(True, False, False, True)),
        ],
        "mlp": [Accuracy(seed=0, validation=0.1, test=0.0, right=(False,) * 4)],
    }
    costs = {
        "convnet": Counts(forward_images=200, backward_images=100, flops=4_000_000_000_000),
        "mlp": Counts(forward_images=70, backward_images=60, flops=50),
    }
    write_results(tmp_path / "r.parquet", results, costs, {"arm": "dasm", "prefix_ipc": 3}, {"seed": 0})
    table, meta = read_table(tmp_path / "r.parquet", "result/2")
    assert meta == {"seed": 0}
    assert table.to_pylist() == [
        {"arm": "dasm", "prefix_ipc": 3, "network": network, "seed": seed, "validation": validation, "test": test}
        | {"test_right": [bool(digit) for digit in right]}
        | dict(zip(("forward_images", "backward_images", "flops"), cost, strict=True))
        for network, seed, validation, test, right, *cost in [
            ("convnet", 0, 0.5, 0.25, (1, 0, 0, 0), 100, 50, 2_000_000_000_000),
            ("convnet", 1, 0.6, 0.5, (1, 0, 0, 1), 100, 50, 2_000_000_000_000),
            ("mlp", 0, 0.1, 0.0, (0, 0, 0, 0), 70, 60, 50),
        ]
    ]


def test_results_without_augmentation_have_a_column_of_their_own(tmp_path):
    found = [Accuracy(seed=0, validation=0.5, test=0.5, right=(True, False), unaugmented=0.25)]
    write_results(tmp_path / "r.parquet", {"mlp": found}, {"mlp": Counts()}, {"arm": "dasm"}, {})
    pass_on(tmp_path / "r.parquet", tmp_path / "other.parquet", {"arm": "idc"}, {})
    for name in ("r", "other"):
        table, _ = read_table(tmp_path / f"{name}.parquet", "result/2")
        assert table["unaugmented"].to_pylist() == [0.25]


@given(st.sampled_from([1, 3]), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_an_encoded_image_comes_back_pixel_for_pixel(channels, height, width, seed):
    generator = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (channels, height, width), generator=generator, dtype=torch.uint8)
    assert torch.equal(from_png(to_png(image)), image)


@pytest.mark.parametrize("form", ["BMP", "JPEG", "EPS"])
def test_images_of_a_set_are_png_and_nothing_else(form):
    """A set may come from anybody, and PostScript is a program that Pillow would hand to an interpreter."""
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, form)
    with pytest.raises(ConfigError, match=r"^must be a readable PNG \(no PNG\)$"):
        from_png(buffer.getvalue())


@pytest.fixture
def damaged(tmp_path):
    path = tmp_path / "s0.parquet"
    write_segment(path, segment(), NAMES, {})
    return path


def test_many_bytes_of_images_are_written_in_groups_that_can_be_read(tmp_path, monkeypatch):
    """As one group, where they are few; the rows are the same."""
    write_segment(tmp_path / "one.parquet", segment(), NAMES, {})
    monkeypatch.setattr(parquet, "_GROUP", pq.read_table(tmp_path / "one.parquet").nbytes // 3)
    write_segment(tmp_path / "many.parquet", segment(), NAMES, {})
    groups = [pq.ParquetFile(tmp_path / f"{name}.parquet").num_row_groups for name in ("one", "many")]
    assert groups[0] == 1 < groups[1]
    one, many = (read_segment(tmp_path / f"{name}.parquet") for name in ("one", "many"))
    assert torch.equal(one.images, many.images) and torch.equal(one.sources, many.sources)
    columns = ["image", "label"]
    left, right = (artefacts.read_parquet(tmp_path / f"{name}.parquet", columns) for name in ("one", "many"))
    assert left.equals(right)


@pytest.mark.parametrize("groups", [1, 2, 3, 8, 9])
def test_a_table_has_the_same_bytes_however_many_pieces_its_columns_are_in(tmp_path, monkeypatch, groups):
    """Those of pieces joined to whole columns, which cannot be done where a column has more than 2 GiB."""
    parts = [pa.table(segment_columns(segment(index, factor=factor))) for index, factor in ((0, 2), (1, 2), (2, 1))]
    parts[1] = parts[1].append_column(
        "soft_labels", pa.array([[[0.25, 0.75]] * 4] * 4, pa.list_(pa.list_(pa.float32())))
    )
    whole = pa.concat_tables(parts, promote_options="default")
    joined = whole.combine_chunks()
    monkeypatch.setattr(parquet, "_GROUP", joined.nbytes // groups + 1 if groups < 9 else 1)
    for name, table in (("pieces", whole), ("joined", joined)):
        columns = {name: table[name] for name in table.column_names}
        write_table(tmp_path / name, columns, "set/1", {"class_names": NAMES})
    rows = -(-len(joined) // -(-joined.nbytes // parquet._GROUP))
    footer = pq.read_schema(tmp_path / "joined").metadata
    pq.write_table(joined.replace_schema_metadata(footer), tmp_path / "plain", compression="zstd", row_group_size=rows)
    assert whole["image"].num_chunks == 3 and pq.ParquetFile(tmp_path / "pieces").num_row_groups == -(-12 // rows)
    files = {name: (tmp_path / name).read_bytes() for name in ("pieces", "joined", "plain")}
    assert files["pieces"] == files["joined"] == files["plain"]


@pytest.mark.parametrize("keep", [0, 3, 0.5, -1])
def test_a_damaged_file_is_named(damaged, keep):
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    with pytest.raises(ConfigError, match=rf"^{damaged}: must be a readable Parquet file \(.+\)$"):
        read_segment(damaged)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/x.parquet: no such file$"):
        read_window(tmp_path / "x.parquet")


def test_a_table_of_another_kind_is_named(damaged):
    with pytest.raises(ConfigError, match=rf"^{damaged}: must have schema difficulty/1, got segment/2$"):
        read_window(damaged)


def test_a_table_that_is_not_ours_is_named(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/x.parquet: must have schema segment/2, got none$"):
        read_segment(tmp_path / "x.parquet")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.bin"
    write_atomically(path, lambda file: file.write_bytes(b"old"))

    def half_written(file: Path):
        file.write_bytes(b"ne")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, half_written)
    assert path.read_bytes() == b"old"


def test_only_images_with_classes_carry_the_hugging_face_footer(tmp_path):
    write_table(tmp_path / "a.parquet", {"x": pa.array([1])}, "result/2", {"class_names": ["a"]})
    assert b"huggingface" not in pq.read_schema(tmp_path / "a.parquet").metadata


def test_reading_and_writing_warn_of_nothing(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_segment(tmp_path / "s0.parquet", segment(channels=1), NAMES, {})
        read_segment(tmp_path / "s0.parquet")
