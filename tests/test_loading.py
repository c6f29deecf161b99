"""Sets that are damaged, incomplete, of another kind or hostile are refused in one line that names the file."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file

import dasm
from dasm.errors import ConfigError
from dasm.export import export
from dasm.images.png import to_png
from dasm.tables import read_segments
from tests.handmade import stored_images, write_chain

FORMS = ("distilled.parquet", "distilled.safetensors", "images")


@pytest.fixture
def out(tmp_path):
    """An exported set of two segments; the state it was made of lies in `state`."""
    write_chain(tmp_path / "state", [stored_images(0), stored_images(1)])
    (tmp_path / "out").mkdir()
    export(tmp_path / "out", dasm.load(tmp_path / "state"))
    return tmp_path / "out"


def refusal(path):
    with pytest.raises(ConfigError) as caught:
        dasm.load(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_segment_that_starts_a_set_is_a_set(out):
    state = out.parent / "state"
    assert dasm.load(state / "s0.parquet").content == dasm.load(state, prefix_ipc=2).content
    assert "s1.parquet: must follow segment " in refusal(state / "s1.parquet")


def test_a_state_after_another_parent_is_refused_everywhere(out, tmp_path):
    write_chain(tmp_path / "other", [stored_images(0, ipc=1), stored_images(1)])
    state = out.parent / "state"
    (tmp_path / "other/s0.parquet").replace(state / "s0.parquet")
    message = refusal(state)
    assert message.startswith(f"{state}/s1.parquet: must follow segment ")
    with pytest.raises(ConfigError, match="must follow segment"):
        read_segments(state)


def test_a_state_without_its_first_segment_is_refused(out):
    (out.parent / "state/s0.parquet").unlink()
    assert "s1.parquet: must follow segment" in refusal(out.parent / "state")


def test_a_changed_pixel_is_refused_in_every_form(out):
    table = pq.read_table(out / "distilled.parquet")
    rows = table["image"].to_pylist()
    rows[-1]["bytes"] = to_png(stored_images(7).images[0])
    column = table.schema.get_field_index("image")
    pq.write_table(
        table.set_column(column, table.schema.field(column), pa.array(rows, table.schema.field(column).type)),
        out / "distilled.parquet",
    )
    tensors = load_file(out / "distilled.safetensors")
    tensors["images"][-1, 0, 0, 0] ^= 1
    save_file(tensors, out / "distilled.safetensors", metadata(out))
    (out / "images/dog/001-0001.png").write_bytes(to_png(stored_images(7).images[0]))
    for form in FORMS:
        assert "segment 1: must hold what its hash was taken of" in refusal(out / form)
    # A prefix cannot be had of a file that was changed either: it is read whole.
    with pytest.raises(ConfigError):
        dasm.load(out / "images", prefix_ipc=2)


def metadata(out):
    from safetensors import safe_open

    with safe_open(out / "distilled.safetensors", "pt") as file:
        return file.metadata()


def test_swapped_labels_are_refused(out):
    tensors = load_file(out / "distilled.safetensors")
    tensors["labels"] = 1 - tensors["labels"]
    save_file(tensors, out / "distilled.safetensors", metadata(out))
    assert "segment 0: must hold what its hash" in refusal(out / "distilled.safetensors")


CUTS = [(file, keep) for file in ("distilled.parquet", "distilled.safetensors") for keep in (0, 3, 0.5, -1)]


# The last bytes of a PNG hold no pixels.
@pytest.mark.parametrize(("file", "keep"), [*CUTS, *(("images/cat/000-0000.png", keep) for keep in (0, 3, 0.5))])
def test_a_file_that_was_cut_off_is_named(out, file, keep):
    whole = (out / file).read_bytes()
    (out / file).write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    assert refusal(out / file if "/" not in file else out / "images").startswith(f"{out / file}: must be ")


def test_images_that_belong_to_no_segment_are_refused(out):
    tensors = load_file(out / "distilled.safetensors")
    tensors |= {name: torch.cat([tensors[name], tensors[name][:1]]) for name in ("images", "labels")}
    save_file(tensors, out / "distilled.safetensors", metadata(out))
    table = pq.read_table(out / "distilled.parquet")
    pq.write_table(pa.concat_tables([table.slice(0, 1), table.slice(0, 8)]), out / "distilled.parquet")
    assert refusal(out / "distilled.safetensors").endswith(": must hold 8 images, got 9")
    # One row more of the first segment.
    assert "segment 0: must hold what its hash was taken of" in refusal(out / "distilled.parquet")
    row = table.slice(0, 1).to_pylist()[0] | {"segment": 7}
    pq.write_table(pa.concat_tables([table, pa.Table.from_pylist([row], table.schema)]), out / "distilled.parquet")
    assert refusal(out / "distilled.parquet").endswith(": must hold 8 images, got 9")


def test_a_missing_picture_is_named(out):
    (out / "images/dog/001-0001.png").unlink()
    assert refusal(out / "images") == f"{out}/images/dog/001-0001.png: no such file"


def test_a_picture_of_another_size_is_named(out):
    (out / "images/dog/001-0001.png").write_bytes(to_png(torch.zeros(3, 4, 4, dtype=torch.uint8)))
    assert refusal(out / "images").startswith(f"{out}/images/dog/001-0001.png: must be as large as the other images")


def test_text_that_calls_itself_a_picture_is_named(out):
    (out / "images/cat/000-0000.png").write_text("no picture")
    assert refusal(out / "images").startswith(f"{out}/images/cat/000-0000.png: must be a readable PNG (no PNG)")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"schema": "images/2"}',
        '{"schema": "images/1"}',
        '{"schema": "images/1", "segments": 3}',
    ],
)
def test_a_description_that_describes_nothing_is_named(out, text):
    (out / "images/set.json").write_text(text)
    assert refusal(out / "images").startswith(f"{out}/images/set.json: must ")


def edit(out, change):
    description = json.loads((out / "images/set.json").read_text())
    change(description)
    (out / "images/set.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole["segments"][0].pop("labels"),
        lambda whole: whole["segments"][0].pop("content"),
        lambda whole: whole["segments"][0].update(labels=[0, 0, 1, 7]),
        lambda whole: whole["segments"][0].update(labels="0011"),
        lambda whole: whole["segments"][0].update(index="../0"),
        lambda whole: whole["segments"][0].update(factor=None),
        lambda whole: whole["segments"].reverse(),
        lambda whole: whole.update(mean=[0.5] * 3),
        lambda whole: whole.pop("std"),
        lambda whole: whole.update(class_names=["dog", "cat"]),
        lambda whole: whole.update(segments=[]),
    ],
)
def test_a_description_that_was_changed_is_refused(out, change):
    edit(out, change)
    assert refusal(out / "images").startswith(f"{out}/images")


def test_no_description_leads_out_of_its_folder(out, tmp_path):
    (tmp_path / "secret").mkdir()
    for file in (out / "images/cat").iterdir():
        (tmp_path / "secret" / file.name).write_bytes(file.read_bytes())
    for name in ("../../secret", f"{tmp_path}/secret"):
        edit(out, lambda whole, name=name: whole.update(class_names=[name, "dog"]))
        message = refusal(out / "images")
        assert message.startswith(f"{out}/images/0-") and message.endswith(": no such file")


def test_a_segment_without_the_statistics_of_the_real_set_is_no_product(tmp_path):
    from dasm.tables import write_segment

    write_segment(tmp_path / "s0.parquet", stored_images(), ("cat", "dog"), {"parent": None})
    assert refusal(tmp_path) == f"{tmp_path}: segment 0: must record mean, got none"


@pytest.mark.parametrize("column", ["image", "label", "segment", "sources"])
def test_parquet_without_a_column_is_refused(out, column):
    for path in (out / "distilled.parquet", out.parent / "state/s0.parquet"):
        pq.write_table(pq.read_table(path).drop_columns([column]), path)
        assert refusal(path).startswith(f"{path}: must ")


def test_an_empty_table_is_refused(out):
    path = out.parent / "state/s0.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    assert refusal(path).startswith(f"{path}: must ")


def test_a_row_without_bytes_is_refused_and_its_path_is_not_followed(out):
    path = out.parent / "state/s0.parquet"
    table = pq.read_table(path)
    rows = [{"bytes": None, "path": str(out / "images/cat/000-0000.png")}] * len(table)
    column = table.schema.get_field_index("image")
    images = pa.array(rows, table.schema.field(column).type)
    pq.write_table(table.set_column(column, table.schema.field(column), images), path)
    assert refusal(path).startswith(f"{path}: must ")


def test_files_of_another_kind_are_refused(tmp_path):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "x.parquet")
    assert refusal(tmp_path / "x.parquet").endswith("must have schema set/1 or segment/2, got none")
    save_file({"images": torch.zeros(1)}, tmp_path / "x.safetensors")
    foreign = "(not a set that DASM wrote; to judge it beside others: docs/running.md)"
    assert refusal(tmp_path / "x.safetensors").endswith(f"must have schema tensors/1, got None {foreign}")
    (tmp_path / "x.pt").write_text("")
    assert refusal(tmp_path / "x.pt").endswith(f"must be a folder, *.parquet or *.safetensors, got '.pt' {foreign}")
    assert refusal(tmp_path / "nowhere") == f"{tmp_path}/nowhere: no such file or folder"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty").startswith(f"{tmp_path}/empty: must hold a distilled set (")
