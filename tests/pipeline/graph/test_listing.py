"""Files of a data set that have changed since `prepare` read them: seen by names and sizes; and what DVC watches."""

import json
from pathlib import Path

import pytest

from dasm.data import Dataset
from dasm.errors import ConfigError
from dasm.plugins import build
from pipeline import layout, params
from pipeline.drivers import walk
from pipeline.graph import listing
from pipeline.graph.templates import Stage
from tests.graph import ROOT
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


@pytest.mark.parametrize("change", [add, rename, mend], ids=lambda change: change.__name__)
@pytest.mark.usefixtures("project")
def test_other_files_are_not_those_that_were_read(change):
    assert listing.is_read(STUDY)
    change()
    assert not listing.is_read(STUDY)
    record()
    assert listing.is_read(STUDY)


@pytest.mark.usefixtures("project")
def test_what_is_no_picture_does_not_count():
    fill(Path("in"), {"cat/.hidden.png": 1})
    Path("in/cat/notes.txt").write_text("x")
    assert listing.is_read(STUDY)


@pytest.mark.usefixtures("project")
def test_files_that_are_to_be_read_otherwise_are_not_read_nor_where_nothing_was():
    for other in ({"data": {**PICTURES, "size": 5}}, {"seed": 1}):
        assert not listing.is_read({**STUDY, **other})
    (layout.LEDGER / "prepare.json").unlink()
    assert not listing.is_read(STUDY)


@pytest.mark.usefixtures("project")
def test_files_that_are_gone_are_taken_for_those_that_were_read():
    known = listing.recorded()
    Path("in").rename("out")
    assert listing.here_or_recorded(STUDY) == known
    assert listing.is_read(STUDY)
    Path("in/eel").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"^in/eel: must hold images"):
        listing.here_or_recorded(STUDY)


@pytest.mark.usefixtures("project")
def test_a_data_set_without_files_is_known_by_how_it_is_read():
    digits = {**STUDY, "data": {"name": "digits"}}
    record(digits)
    assert listing.is_read(digits)
    assert not listing.is_read({**digits, "seed": 1})


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


WATCHES = ["in", "in/../in", "link", ".up/here/in", "version"]


@pytest.mark.parametrize("watch", WATCHES)
@pytest.mark.usefixtures("project")
def test_where_the_pictures_lie_may_be_watched_and_a_file_of_ones_own(watch):
    Path("link").symlink_to("in")
    Path(".up").mkdir()
    Path(".up/here").symlink_to(Path().absolute())
    Path("version").write_text("1")
    for root in ("in", "link"):
        listing.check_watched({**STUDY, "data": {**PICTURES, "root": root}, "watch": watch})


@pytest.mark.usefixtures("project")
def test_a_folder_around_the_pictures_may_be_watched_and_the_one_file_of_a_set():
    Path("data/all/sorted").mkdir(parents=True)
    Path("in").rename("data/all/sorted/in")
    study = {**STUDY, "data": {**PICTURES, "root": "data/all/sorted/in"}}
    for watch in ("data/all", "data/all/sorted"):
        listing.check_watched({**study, "watch": watch})
    Path("set.safetensors").touch()
    listing.check_watched({"data": {"name": "tensor", "path": "set.safetensors"}, "watch": "set.safetensors"})


HINT = r" \(they lie in in\)$"
UNWATCHED = {
    "nowhere": r"^watch: must be a file or folder that is there, got 'nowhere' \(DVC looks for changes there\)$",
    "data": r"^watch: must be no folder that stages write into, got 'data'$",
    ".": r"^watch: must be no folder that stages write into, got '.'$",
    "data/real": r"^watch: must be no folder that stages write into, got 'data/real'$",
    "other": r"^watch: must be where the images lie, or a file .* changed, got 'other'" + HINT,
    "in/cat": r"^watch: must be where the images lie, or a file .* changed, got 'in/cat'" + HINT,
    "dasm/data/digits.py": r"^watch: must be where the images lie, .* got 'dasm/data/digits.py'" + HINT,
}


@pytest.mark.parametrize("watch", UNWATCHED)
@pytest.mark.usefixtures("project")
def test_pictures_that_would_change_unseen_are_refused(watch):
    for folder in ("data/real", "other", "dasm/data"):
        Path(folder).mkdir(parents=True)
    Path("dasm/data/digits.py").touch()
    with pytest.raises(ConfigError, match=UNWATCHED[watch]):
        listing.check_watched({**STUDY, "watch": watch})


@pytest.mark.usefixtures("project")
def test_a_linked_folder_inside_of_what_is_watched_is_refused_for_dvc_does_not_look_into_it():
    Path("in/dog").rename("dogs")
    Path("in/dog").symlink_to(Path("dogs").absolute())
    with pytest.raises(ConfigError, match=r"^watch: must be where .* got 'in' \(in/dog leads out of it\)$"):
        listing.check_watched({**STUDY, "watch": "in"})


@pytest.mark.usefixtures("project")
def test_pictures_that_are_not_there_are_named_unless_a_file_stands_for_them():
    Path("in").rename("elsewhere")
    Path("elsewhere/version").touch()
    with pytest.raises(ConfigError, match=r"^in: must be a readable folder"):
        listing.check_watched({**STUDY, "watch": "elsewhere"})
    listing.check_watched({**STUDY, "watch": "elsewhere/version"})


@pytest.mark.usefixtures("project")
def test_of_a_data_set_without_files_anything_may_be_watched():
    Path("dasm/data").mkdir(parents=True)
    Path("dasm/data/digits.py").touch()
    for watch in ("dasm/data/digits.py", "in"):
        listing.check_watched({**STUDY, "data": {"name": "digits"}, "watch": watch})


@pytest.mark.parametrize("name", ["params.yaml", *sorted(str(p) for p in ROOT.glob("studies/*/params.yaml"))])
def test_every_study_watches_where_its_images_lie(name):
    study = params.read(ROOT / name)
    own = ROOT / f"dasm/data/{study['data']['name']}.py"
    assert study["watch"] == study["data"].get("root", str(own.relative_to(ROOT))) and own.exists()
