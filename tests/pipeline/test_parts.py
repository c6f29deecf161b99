"""`parts`: what may be named in params.yaml, against the files and dataclasses themselves."""

import dataclasses

import pytest
from ruamel.yaml import YAML

from dasm.plugins import build, find
from pipeline import params, parts
from pipeline.__main__ import main
from tests.graph import ROOT
from tests.handmade import listed

EVERY = [(folder, name) for folder in parts.KINDS for name in listed(folder)]


def said(capsys, *words):
    assert main(["parts", *words]) == 0
    out, err = capsys.readouterr()
    assert not err
    return out


def test_all_parts_are_listed_by_kind_in_a_line_each(capsys):
    blocks = said(capsys).split("\n\n")
    assert [block.split()[0] for block in blocks[:-1]] == [*parts.KINDS, "blocks"]
    for folder, block in zip([*parts.KINDS, "blocks"], blocks, strict=False):
        rows = block.splitlines()[1:]
        assert [row.split()[0] for row in rows] == (listed(folder) if folder in parts.KINDS else list(parts.BLOCKS))
        assert all(len(row.split()) > 1 and len(row) <= 120 for row in rows)


@pytest.mark.parametrize(("folder", "name"), [*EVERY, *(("blocks", name) for name in parts.BLOCKS)])
def test_every_option_is_described_with_its_default(folder, name):
    """As the dataclass has it; and nothing that params.yaml may say is without a word."""
    part = parts.BLOCKS[name][0] if folder == "blocks" else find(parts._class(folder), name, folder)
    found = parts.options(part)
    assert [option for option, _, _ in found] == [field.name for field in dataclasses.fields(part) if field.init]
    assert all(what for _, _, what in found)


def test_what_it_says_of_a_part(capsys):
    text = said(capsys, "hard_filter")
    assert text.splitlines()[0] == "hard_filter (windows)"
    share, drop = text.splitlines()[-2:]
    assert share.split("  ")[2:3] == ["share: 0.3"] and share.endswith(
        "share of each class that is left out, in [0, 1)."
    )
    assert "drop: easiest   easiest | hardest · which end is left out; " in drop
    assert said(capsys, "all").splitlines()[-1] == "    no options"
    assert said(capsys, "given").count("    path: needed   the file.\n") == 2


def test_a_name_of_two_kinds_is_said_of_both_and_a_kind_of_all_its_parts(capsys):
    assert [line for line in said(capsys, "el2n").splitlines() if line and line[0] != " "] == [
        "el2n (scores)",
        "el2n (coresets)",
    ]
    heads = [line for line in said(capsys, "scores").splitlines() if line and line[0] != " "]
    assert heads == [f"{name} (scores)" for name in listed("scores")]


@pytest.mark.parametrize(("folder", "name"), EVERY)
def test_defaults_are_written_as_params_yaml_takes_them(folder, name):
    """Read back, they give the part that has them."""
    kind = parts._class(folder)
    options = {option: default for option, default, _ in parts.options(find(kind, name, folder))}
    if "needed" not in options.values():
        given = {option: YAML(typ="safe").load(default) for option, default in options.items()}
        assert build(kind, {"name": name, **given}, folder) == build(kind, {"name": name}, folder)


@pytest.mark.parametrize("name", parts.BLOCKS)
def test_blocks_are_where_the_default_study_has_them(name):
    """So that whoever reads of one finds it; `experts` is left empty there."""
    study = params.read(ROOT / "params.yaml")
    places = [parts.BLOCKS[name][1]]
    if name == "recipe":
        places = ["matching.trainer.recipe", "evaluator.trainer.recipe", "benchmark.protocol.recipe"]
    for place in places:
        value = params.value(study, place.replace("<k>", "0"))
        known = {option for option, _, _ in parts.options(parts.BLOCKS[name][0])}
        assert value is None or {*value} <= known, place


def test_what_it_says_of_a_block(capsys):
    text = said(capsys, "segment")
    assert text.splitlines()[0] == "segment (block: segment.s<k>)"
    assert "    ipc: needed          stored images per class, >= 1.\n" in text
    heads = [line.split()[0] for line in said(capsys, "blocks").splitlines() if line and line[0] != " "]
    assert heads == list(parts.BLOCKS)


def test_what_is_neither_a_kind_nor_a_part_is_refused(capsys):
    assert main(["parts", "windoes"]) == 1
    rule = f"must be one of {', '.join(parts.KINDS)}, blocks or the name of one"
    assert capsys.readouterr() == ("", f"error: parts: {rule}, got 'windoes'\n")
