"""The README's numbers are those of the report, its commands exist and its code runs."""

import re

import pytest

from pipeline.__main__ import COMMANDS
from tests.graph import ROOT

README = (ROOT / "README.md").read_text()


def test_table_one_is_that_of_the_digits_report():
    for line in (ROOT / "reports/digits/table.md").read_text().splitlines():
        assert line in README


def test_every_file_it_names_is_there():
    for path in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / path).exists(), path


def test_every_command_it_names_exists():
    for command in re.findall(r"python -m pipeline (\w+)", README):
        assert command in COMMANDS or (ROOT / f"pipeline/stages/{command}.py").exists(), command
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    for target in re.findall(r"^make (\w+)", README, flags=re.MULTILINE):
        assert target in targets


@pytest.mark.deep
@pytest.mark.slow
def test_the_library_example_runs(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    exec(compile(code, "README.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "1"]
    assert "(10, 1, 8, 8)" in lines[0]
