"""What a module is made of, against what an interpreter loads; and which edits a digest sees."""

import pytest

from pipeline.graph.sources import closure, digests
from tests.graph import ROOT, loaded

STAGES = sorted(file.stem for file in (ROOT / "pipeline/stages").glob("[!_]*.py"))

# What stages import once they know that there is something to do.
DEFERRED = ("distillation", "training", "scoring", "experts", "labelling")


def test_everything_that_is_loaded_with_a_stage_is_in_its_closure():
    every = closure([f"pipeline.stages.{stage}" for stage in STAGES], ROOT)
    modules = [*(f"pipeline.stages.{stage}" for stage in STAGES), *(f"pipeline.work.{name}" for name in DEFERRED)]
    assert loaded(", ".join(modules)) <= {str(path) for path in every}


def test_a_closure_holds_nothing_that_is_not_imported():
    found = {str(path) for path in closure(["pipeline.stages.distill"], ROOT)}
    # Imported inside a function, when the first section is built.
    assert found == loaded("pipeline.stages.distill, pipeline.work.distillation") | {"dasm/plugins.py"}


@pytest.mark.parametrize("stage", STAGES)
def test_no_stage_is_made_of_a_plug_in(stage):
    """They are found by name; the blueprint's blocks say which are in use."""
    kinds = ("data", "networks", "scores", "windows", "objectives", "coresets")
    for path in closure([f"pipeline.stages.{stage}"], ROOT):
        in_use = path.parent.name in kinds and path.name != "__init__.py" and not path.name.startswith("_")
        assert not in_use, path


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_imports_are_followed_through_packages_functions_and_both_spellings(tmp_path):
    write(
        tmp_path,
        dasm__a="import dasm.b\nfrom dasm import c\nimport os",
        dasm__b="def late():\n    from dasm.d.e import thing",
        dasm__c="if True:\n    from numpy import array",
        dasm__d__e="thing = 1",
        dasm__unrelated="",
    )
    (tmp_path / "dasm/__init__.py").write_text("")
    (tmp_path / "dasm/d/__init__.py").write_text("")
    found = {str(path) for path in closure(["dasm.a"], tmp_path)}
    names = {"a.py", "b.py", "c.py", "d/e.py", "__init__.py", "d/__init__.py"}
    assert found == {f"dasm/{name}" for name in names}


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ('"""Other words."""\n\ndef f(x):\n    """Say."""\n    return x + 1\n', True),
        ("def f(x):  # why\n\n    return (x +\n 1)\n", True),
        ('def f(x):\n    """Only words."""\n', False),
        ("def f(x):\n    return x + 2\n", False),
        ("def f(y):\n    return y + 1\n", False),
        ('def f(x):\n    "a" + "b"\n    return x + 1\n', False),
        ("def f(x):\n    return x + 1.0\n", False),
        ("def f(x):\n    return x + True\n", False),
        ("def f(x):\n    return x - 1\n", False),
        ("def f(*x):\n    return x + 1\n", False),
        ("async def f(x):\n    return x + 1\n", False),
        ("def f(x):\n    return\n", False),
        ("def f(x=None):\n    return x + 1\n", False),
    ],
)
def test_words_and_layout_are_no_change_and_code_is(tmp_path, text, same):
    (tmp_path / "a.py").write_text("def f(x):\n    return x + 1\n")
    (tmp_path / "b.py").write_text(text)
    first, second = digests([path.relative_to(tmp_path) for path in tmp_path.glob("*.py")], tmp_path).values()
    assert (first == second) is same


def test_other_files_count_byte_by_byte(tmp_path):
    (tmp_path / "a.css").write_text("p { color: red }")
    before = digests([(tmp_path / "a.css").relative_to(tmp_path)], tmp_path)
    (tmp_path / "a.css").write_text("p {  color: red }")
    assert digests([(tmp_path / "a.css").relative_to(tmp_path)], tmp_path) != before
