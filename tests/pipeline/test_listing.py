"""Files of a data set that have changed since `prepare` read them: seen by names and sizes, and said in one line."""

import json
from pathlib import Path

import pytest

from dasm.data import Dataset
from dasm.errors import ConfigError, ShortageError
from dasm.plugins import build
from pipeline import layout, listing, walk
from pipeline.mending import adding, mending
from pipeline.templates import Stage
from tests.handmade import listed
from tests.pictures import encode, fill, grey

PICTURES = {"name": "image_folder", "root": "in", "size": 4}
STUDY = {"data": PICTURES, "seed": 0}
FILES = {f"{name}/{i}.png": i for name in ("cat", "dog") for i in range(4)}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """Pictures that `prepare` has read, as far as the ledger knows."""
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), FILES)
    record()
    return tmp_path


def record(study=STUDY):
    layout.LEDGER.mkdir(parents=True, exist_ok=True)
    (layout.LEDGER / "prepare.json").write_text(json.dumps({"listing": listing.listing(study)}))


def add():
    fill(Path("in"), {"dog/new.png": 9})


def rename():
    Path("in/dog/1.png").rename("in/dog/other.png")


def mend():
    Path("in/dog/1.png").write_bytes(encode(grey(9, 30, 30)))


AGAIN = "which DVC does not see (`dvc repro --force prepare`, then `dvc repro`)"
CHANGES = {
    add: f"data: 9 files, 8 when `prepare` read them, {AGAIN}",
    rename: f"data: other names or sizes than when `prepare` read them, {AGAIN}",
    mend: f"data: other names or sizes than when `prepare` read them, {AGAIN}",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.usefixtures("project")
def test_files_that_are_others_are_warned_of_in_one_line(change, capsys):
    listing.warn(STUDY)
    assert capsys.readouterr().err == "" and listing.compared(STUDY) == (True, "")
    change()
    assert not listing.warn(STUDY)
    assert capsys.readouterr().err == f"warning: {CHANGES[change]}\n"
    record()
    assert listing.compared(STUDY) == (True, "")


@pytest.mark.usefixtures("project")
def test_what_is_no_picture_does_not_count():
    fill(Path("in"), {"cat/.hidden.png": 1})
    Path("in/cat/notes.txt").write_text("x")
    assert listing.compared(STUDY) == (True, "")


@pytest.mark.usefixtures("project")
def test_nothing_is_said_of_other_options_which_dvc_sees_nor_where_nothing_was_read():
    add()
    for other in ({"data": {**PICTURES, "size": 5}}, {"seed": 1}):
        assert listing.compared({**STUDY, **other}) == (False, "")
    (layout.LEDGER / "prepare.json").unlink()
    assert listing.compared(STUDY) == (False, "")


@pytest.mark.usefixtures("project")
def test_files_that_are_gone_are_taken_for_those_that_were_read():
    known = listing.recorded()
    Path("in").rename("out")
    assert listing.here_or_recorded(STUDY) == known
    gone = "in: must be a readable folder (No such file or directory); `prepare` has read it"
    assert listing.compared(STUDY) == (True, gone)
    Path("in/eel").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"^in/eel: must hold images"):
        listing.here_or_recorded(STUDY)
    assert listing.compared(STUDY)[0] is False


@pytest.mark.usefixtures("project")
def test_a_data_set_without_files_is_known_by_how_it_is_read():
    digits = {**STUDY, "data": {"name": "digits"}}
    record(digits)
    assert listing.compared(digits) == (True, "")
    assert listing.compared({**digits, "seed": 1}) == (False, "")


@pytest.mark.parametrize("name", listed("data"))
def test_every_data_set_says_what_it_reads_or_that_nobody_changes_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    own = {
        "image_folder": {"root": "in"},
        "imagenet_subset": {"root": "in", "classes": "in/list.txt"},
        "parquet": {"root": "in"},
        "tensor": {"path": "in/set.safetensors"},
        "tiny_imagenet": {"root": "in"},
    }
    wrapping = {"of": PICTURES}
    options = own.get(name, wrapping if name in ("noisy", "long_tailed") else {})
    wnids = ["n01", "n02"]
    folders = [f"{split}/{wnid}/" for split in ("train", "val") for wnid in wnids]
    tiny = [f"train/{wnid}/images/" for wnid in wnids] + ["val/images/"]
    fill(Path("in"), {f"{folder}1.png": 1 for folder in (tiny if name == "tiny_imagenet" else folders)})
    for file in ("list.txt", "wnids.txt"):
        Path("in", file).write_text("n01\nn02\n")
    for file in ("words.txt", "val/val_annotations.txt", "set.safetensors", "train.parquet", "test.parquet"):
        Path("in", file).touch()
    files = [*build(Dataset, {"name": name, **options}, "data").files()]
    assert all(Path(file).is_file() for file in files)
    expected = {"image_folder": 4, "noisy": 4, "long_tailed": 4, "imagenet_subset": 5, "parquet": 2, "tensor": 1}
    assert len(files) == len({*files}) == (expected | {"tiny_imagenet": 6}).get(name, 0)


@pytest.mark.usefixtures("project")
def test_a_walk_reads_other_files_again_and_does_all_that_follows():
    made = [
        Stage(name=name, cmd="x", deps=deps, params=(), outs=(name,))
        for name, deps in (("prepare", ()), ("score", ("prepare",)), ("other", ()))
    ]
    before, _ = walk.identities(made, STUDY)
    assert walk.identities(made, STUDY)[0] == before
    add()
    after, _ = walk.identities(made, STUDY)
    assert {name for name in after if after[name] != before[name]} == {"prepare", "score"}


def test_errors_that_more_or_better_pictures_mend_say_how_to_go_on():
    with pytest.raises(ConfigError, match=r"^in: bad; once that is mended: `dvc repro --force prepare`$"), mending():
        raise ConfigError("in: bad")
    with pytest.raises(ConfigError, match=r"^data/real: must be writable$"), mending():
        raise ConfigError("data/real: must be writable")
    rule = r"^distill@x-s1: few; after adding pictures: `dvc repro --force prepare`$"
    with pytest.raises(ConfigError, match=rule), adding("distill@x-s1"):
        raise ShortageError("few")
    with pytest.raises(ConfigError, match=r"^other$"), adding("distill@x-s1"):
        raise ConfigError("other")
