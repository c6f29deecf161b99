"""Archives of a study that come home from a lent machine: what fits, in which order, and that it arrives."""

import os
import shutil
import tarfile
from pathlib import Path

import pytest

from benchmarks import travel
from dasm.errors import ConfigError
from pipeline import params
from pipeline.graph.templates import Stage, stages
from tests.graph import ROOT

MEGABYTE = 1 << 20
HOME = ("check", "prepare")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A walk's leavings: small tables, two arms whose second state repeats the first segment, networks, work."""
    (tmp_path / "away").mkdir()
    monkeypatch.chdir(tmp_path / "away")

    def write(path, megabytes, content):
        file = tmp_path / "away" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(bytes([content]) * int(megabytes * MEGABYTE))

    for number, arm in enumerate(("dasm", "idc")):
        for state in (1, 2, 10):
            write(f"data/distilled/{arm}/{state}/s0.parquet", 2, number)
            write(f"data/distilled/{arm}/{state}/state.json", 0.001, state)
        write(f"data/distilled/{arm}/10/s1.parquet", 1, 10 + number)
        write(f"data/results/{arm}/1.parquet", 0.01, 20)
    for name in ("ledger/x.json", "difficulty/dasm/0.parquet"):
        write(f"data/{name}", 0.01, 21)
    write("reports/narrow/index.html", 0.1, 22)
    write("reports/other/index.html", 0.1, 22)
    write("data/real/train.images.npy", 5, 23)
    for folder in ("dasm/1", "dasm/2", "real"):
        write(f"data/evaluators/{folder}/e0-t0.safetensors", 1, 24)
    write(".checkpoints/dasm-1-ab.safetensors", 3, 25)
    write(".checkpoints/walk/teacher", 0.001, 26)
    write(".checkpoints/lock", 0, 0)
    for one in (STAGE, STAGE_WITHOUT_OUTPUT):  # as a walk leaves it that has made everything
        travel.walk._stamp(one, "same")
    study = {"study": "narrow", "arms": ["dasm"], "controls": ["idc", "absent"], "coresets": []}
    monkeypatch.setattr(travel.params, "read", lambda: study)
    return tmp_path


def relative(root):
    return {str(file.relative_to(root)): file for file in root.rglob("*") if file.is_file()}


def arrived(made, monkeypatch, megabytes="60"):
    """Pack, unpack elsewhere without DVC; return the files there."""
    out, home = made / "out", made / "home"
    out.mkdir()
    home.mkdir()
    travel.pack("narrow", str(out), megabytes)
    monkeypatch.chdir(home)
    called = []
    monkeypatch.setattr(travel, "_call", lambda *command: called.append(command))
    monkeypatch.setattr(travel, "stages", lambda _: [STAGE, STAGE_WITHOUT_OUTPUT])
    monkeypatch.setattr(travel.walk, "identities", lambda written, _: ({one.name: "same" for one in written}, {}))
    travel.unpack("narrow", str(out))
    assert ("dvc", "commit", "--force", "--quiet", "distill@dasm-s0") in called
    return relative(home)


def stage(name, *outs):
    return Stage(name=name, cmd="", deps=("data/ledger",), params=(), outs=outs)


STAGE = stage("distill@dasm-s0", "data/distilled/dasm/1")
STAGE_WITHOUT_OUTPUT = stage("distill@dasm-s9", "data/distilled/dasm/10", "data/distilled/dasm/11")


@pytest.mark.parametrize("folder", [".", "studies/mnist"])
def test_what_any_stage_of_a_study_leaves_may_travel(tmp_path, monkeypatch, folder):
    """Else DVC at home makes it again, and everything after it: but for what is made there in seconds."""
    study = params.read(ROOT / folder / "params.yaml")
    outs = [Path(out) for one in stages(study, ROOT / "dvc.yaml") for out in one.outs if one.name not in HOME]
    monkeypatch.chdir(tmp_path)
    for out in outs:
        (out.parent if out.suffix else out).mkdir(parents=True, exist_ok=True)
        (out if out.suffix else out / "file").write_bytes(b"")
    monkeypatch.setattr(travel.params, "read", lambda: study)
    sent = {*travel.wanted(study["study"])}
    assert [out for out in outs if not {out, *out.parents} & sent and not {*out.glob("*")} <= sent] == []


def test_everything_arrives_but_real_images_and_other_studies(made, monkeypatch):
    sent = relative(made / "away")
    found = arrived(made, monkeypatch)
    left = {"data/real/train.images.npy", "reports/other/index.html", ".checkpoints/lock"}
    assert set(found) == set(sent) - left
    assert all(file.read_bytes() == sent[name].read_bytes() for name, file in found.items())


def test_a_segment_that_several_states_hold_travels_once(made, monkeypatch):
    found = arrived(made, monkeypatch)
    size = sum(file.stat().st_size for file in (made / "out").iterdir())
    inodes = {file.stat().st_ino: file.stat().st_size for file in found.values()}
    assert size < sum(inodes.values()) + 0.1 * MEGABYTE
    assert sum(inodes.values()) < sum(file.stat().st_size for file in found.values()) - 7 * MEGABYTE


def test_what_is_wanted_least_stays_behind_and_is_named(made, monkeypatch, capsys):
    """Two sets of three megabytes fit into seven; then neither the unfinished work nor a network does."""
    found = arrived(made, monkeypatch, "7")
    said = capsys.readouterr().out
    assert {"data/distilled/idc/10/s1.parquet", "data/results/idc/1.parquet", ".checkpoints/walk/teacher"} <= set(found)
    assert not any("evaluators" in name or "dasm-1-ab" in name for name in found)
    for group in (".checkpoints/dasm-1-ab.safetensors", "data/evaluators/real", "data/evaluators/dasm/1"):
        assert f"travel: {group} stays behind" in said
    assert sum(file.stat().st_size for file in (made / "out").iterdir()) <= 7 * MEGABYTE


def test_a_second_trip_takes_what_the_first_one_leaves(made, monkeypatch, capsys):
    sent = relative(made / "away")
    (made / "out").mkdir()
    for trip in ("2", "3"):
        travel.pack("narrow", str(made / "out"), "7", trip)
    assert "stays behind" not in capsys.readouterr().out.splitlines()[-1]
    shutil.move(made / "out", made / "later")
    found = arrived(made, monkeypatch, "7")
    for part in (made / "later").iterdir():
        shutil.move(part, made / "out")
    travel.unpack("narrow", str(made / "out"))
    found = relative(made / "home")
    left = {"data/real/train.images.npy", "reports/other/index.html", ".checkpoints/lock"}
    assert set(found) == set(sent) - left
    assert all(file.read_bytes() == sent[name].read_bytes() for name, file in found.items())


def test_something_smaller_may_travel_where_something_large_does_not(made, monkeypatch):
    found = arrived(made, monkeypatch, "8")
    assert "data/evaluators/real/e0-t0.safetensors" in found
    assert ".checkpoints/dasm-1-ab.safetensors" not in found


def test_archives_are_cut_and_put_together_again(made, monkeypatch):
    monkeypatch.setattr(travel, "PART", MEGABYTE)
    sent = relative(made / "away")
    found = arrived(made, monkeypatch)
    parts = sorted((made / "out").iterdir())
    assert len(parts) > 10 and all(part.stat().st_size <= MEGABYTE for part in parts)
    assert all(file.read_bytes() == sent[name].read_bytes() for name, file in found.items())


def test_nothing_made_yet_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(travel.params, "read", lambda: {"arms": ["dasm"], "controls": [], "coresets": []})
    travel.pack("narrow", str(tmp_path))
    assert capsys.readouterr().out == "travel: 0 files, 0.0 MB\n"


def test_commands_with_too_few_or_too_many_words_are_explained(capsys):
    for words in ([], ["pack", "narrow"], ["unpack", "narrow", "out", "60"], ["send", "narrow", "out"]):
        assert travel.main(words) == 1
        assert capsys.readouterr().err.startswith("usage: python -m benchmarks.travel pack STUDY FOLDER")


def test_another_study_or_an_empty_folder_is_refused(made, monkeypatch):
    (made / "narrow-longer-1.tar.000").touch()
    with pytest.raises(ConfigError, match=r"must hold narrow-1.tar.000 and its successors"):
        travel.unpack("narrow", str(made))
    travel.pack("narrow", str(made))
    monkeypatch.setattr(travel.params, "read", lambda: {"study": "digits"})
    with pytest.raises(ConfigError, match=r"narrow must be in force .*, got 'digits'"):
        travel.unpack("narrow", str(made))


@pytest.mark.parametrize("size", ["0", "-3", "much"])
def test_a_size_that_is_none_is_refused(made, size):
    with pytest.raises(ConfigError, match="megabytes must be a whole number > 0"):
        travel.pack("narrow", str(made), size)


HARM = {
    "nothing": lambda: None,
    "changed": lambda: Path("data/distilled/dasm/1/s0.parquet").write_bytes(b"other"),
    "lost": lambda: Path("data/distilled/dasm/1/state.json").unlink(),
    "left over": lambda: Path("data/distilled/dasm/1/s9.parquet").touch(),
    "made with other options": lambda: travel.walk._stamp(STAGE, "other"),
    "never made": lambda: Path(".checkpoints/walk/distill@dasm-s0").unlink(),
    "without what it was made of": lambda: shutil.rmtree("data/ledger"),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_was_not_made_so_is_not_given_to_dvc(made, monkeypatch, harm):
    """Such as sets of a walk before the options changed, which lie there until the next walk comes to them."""
    HARM[harm]()
    (made / "out").mkdir()
    travel.pack("narrow", str(made / "out"))
    (made / "home").mkdir()
    monkeypatch.chdir(made / "home")
    called = []
    monkeypatch.setattr(travel, "_call", lambda *command: called.append(command))
    monkeypatch.setattr(travel, "stages", lambda _: [STAGE])
    monkeypatch.setattr(travel.walk, "identities", lambda *_: ({STAGE.name: "same"}, {}))
    travel.unpack("narrow", str(made / "out"))
    assert any(command[:2] == ("dvc", "commit") for command in called) == (harm == "nothing")


def test_what_lies_there_is_replaced_and_not_written_into(made, monkeypatch):
    """With hard links for its cache, DVC's copy would change too."""
    (made / "out").mkdir()
    travel.pack("narrow", str(made / "out"))
    here = made / "home/data/ledger/x.json"
    here.parent.mkdir(parents=True)
    (made / "cache").write_text("before")
    os.link(made / "cache", here)
    monkeypatch.chdir(made / "home")
    travel._extract(sorted((made / "out").iterdir()))
    assert here.stat().st_size == int(0.01 * MEGABYTE)
    assert (made / "cache").read_text() == "before"


def test_an_archive_without_its_end_and_a_folder_that_is_not_there_are_refused(made, monkeypatch):
    (made / "out").mkdir()
    travel.pack("narrow", str(made / "out"))
    (part,) = (made / "out").iterdir()
    part.write_bytes(part.read_bytes()[:-MEGABYTE])
    (made / "home").mkdir()
    monkeypatch.chdir(made / "home")
    with pytest.raises(ConfigError, match=r"travel: .*are all parts of the archive there"):
        travel.unpack("narrow", str(made / "out"))
    assert not relative(made / "home")
    with pytest.raises(ConfigError, match=r"the folder for the archives must exist, got '.*none'"):
        travel.pack("narrow", str(made / "none"))


def test_many_small_files_stay_below_the_limit(made):
    for number in range(800):
        (made / f"away/data/ledger/{number}.json").write_text("{}")
    (made / "out").mkdir()
    travel.pack("narrow", str(made / "out"), "2")
    (part,) = (made / "out").iterdir()
    assert MEGABYTE / 2 < part.stat().st_size <= 2 * MEGABYTE


@pytest.mark.parametrize(
    "member",
    [
        {"name": "../out"},
        {"name": "/out"},
        {"name": "in", "type": tarfile.SYMTYPE, "linkname": "in"},
        {"name": "in", "type": tarfile.LNKTYPE, "linkname": "../out"},
        {"name": "in", "type": tarfile.FIFOTYPE},
    ],
)
def test_an_archive_that_leads_out_is_refused(tmp_path, monkeypatch, member):
    """Also by a Python that knows no filters."""
    monkeypatch.chdir(tmp_path)
    entry = tarfile.TarInfo(member["name"])
    entry.type, entry.linkname = member.get("type", tarfile.REGTYPE), member.get("linkname", "")
    with tarfile.open("whole.tar", "w") as archive:
        archive.addfile(entry)
    with pytest.raises(ConfigError, match=r"^travel: the archive must hold files of this folder alone, got "):
        travel._extract([Path("whole.tar")])
    assert [path.name for path in tmp_path.iterdir()] == ["whole.tar"]
