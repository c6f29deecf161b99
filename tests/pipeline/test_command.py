"""`python -m pipeline`: what it says of itself, and to whoever mistypes."""

import importlib
import inspect

import pytest

from pipeline.__main__ import COMMANDS, _entry, main
from tests.graph import ROOT

STAGES = sorted(file.stem for file in (ROOT / "pipeline/stages").glob("[!_]*.py"))


@pytest.mark.parametrize("asked", ["help", "-h", "--help"])
def test_help_names_every_command_and_stage(asked, capsys):
    assert main([asked]) == 0
    said, complaints = capsys.readouterr()
    assert not complaints
    for name, (_, arguments, what) in COMMANDS.items():
        assert any(line.split() == [name, *arguments.split(), *what.split()] for line in said.splitlines())
    for stage in STAGES:
        assert stage in said
    assert all(len(line) <= 120 for line in said.splitlines())


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["reprdouce"], "error: no command called 'reprdouce'; did you mean 'reproduce'?"),
        (["scoer", "dasm", "1"], "error: no command called 'scoer'; did you mean 'score'?"),
        (["xyz"], "error: no command called 'xyz'; `python -m pipeline help` lists them"),
    ],
)
def test_what_is_no_command_is_guessed(arguments, line, capsys):
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", f"{line}\n")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_arguments_it_names_are_those_it_takes(name):
    module, arguments, _ = COMMANDS[name]
    taken = inspect.signature(getattr(importlib.import_module(module), _entry(name))).parameters.values()
    needed = [one for one in arguments.split() if not one.startswith("[")]
    if any(one.kind is one.VAR_POSITIONAL for one in taken):
        assert arguments.endswith("...")
    else:
        assert len(arguments.split()) <= len(taken)
        assert len(needed) == sum(one.default is one.empty for one in taken)
