"""The rules of the house, read from the source: whoever adds a plug-in learns them here."""

import ast
import dataclasses
import importlib
import inspect
import re

import pytest

from tests.handmade import DASM, listed

KINDS = ("coresets", "data", "networks", "objectives", "scores", "windows")
PLUG_INS = [f"dasm.{kind}.{name}" for kind in KINDS for name in listed(kind)]
FILES = sorted(DASM.rglob("*.py"))
REQUIRED = {
    "dasm.coresets.given": {"path"},
    "dasm.scores.given": {"path"},
    "dasm.windows.anchor": {"window"},
    "dasm.windows.blended": {"window"},
    "dasm.windows.group": {"sizes"},
    "dasm.windows.interleaved": {"planned_segments"},
    "dasm.windows.linear": {"planned_segments"},
    "dasm.windows.reversed": {"planned_segments"},
    "dasm.windows.soft": {"window"},
    "dasm.windows.static": {"window"},
    "dasm.data.image_folder": {"root"},
    "dasm.data.imagenet_subset": {"root", "classes"},
    "dasm.data.long_tailed": {"of"},
    "dasm.data.noisy": {"of"},
    "dasm.data.parquet": {"root"},
    "dasm.data.tensor": {"path"},
    "dasm.data.tiny_imagenet": {"root"},
}
LONGEST_FUNCTION, LONGEST_MODULE = 60, 220
#: How a plug-in says where it is from.
SOURCE = r"\b(19|20)\d\d\b|\b\d{4}\.\d{5}\b|UCI|Hugging Face"


def plug_in_class(module_name):
    module = importlib.import_module(module_name)
    kind = importlib.import_module(module_name.rpartition(".")[0])
    abstract = [c for c in vars(kind).values() if inspect.isabstract(c) and c.__module__ == kind.__name__]
    (found,) = [
        c
        for c in vars(module).values()
        if isinstance(c, type) and c.__module__ == module_name and issubclass(c, tuple(abstract))
    ]
    return found


def dotted(node):
    """`a.b.c` of an attribute chain that starts at a name, else nothing."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def test_the_listing_finds_the_plug_ins():
    assert {"dasm.networks.convnet", "dasm.scores.loss", "dasm.windows.budget", "dasm.data.parquet"} <= set(PLUG_INS)


@pytest.mark.parametrize("name", PLUG_INS)
def test_a_plug_in_is_a_final_frozen_keyword_only_dataclass(name):
    found = plug_in_class(name)
    assert found.__final__
    (tree,) = [n for n in ast.walk(ast.parse(inspect.getsource(found))) if isinstance(n, ast.ClassDef)]
    (dataclass,) = [d for d in tree.decorator_list if isinstance(d, ast.Call) and dotted(d.func) == "dataclass"]
    assert {k.arg: ast.literal_eval(k.value) for k in dataclass.keywords} == {"frozen": True, "kw_only": True}


@pytest.mark.parametrize("name", PLUG_INS)
def test_every_option_has_a_default(name):
    bare = {
        field.name
        for field in dataclasses.fields(plug_in_class(name))
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    assert bare == REQUIRED.get(name, set())


@pytest.mark.parametrize("name", PLUG_INS)
def test_every_option_is_documented(name):
    """By its own class, or by the one that it has the option from."""
    found = plug_in_class(name)
    documented = []
    for kind in reversed(found.__mro__):
        if kind.__module__.startswith("dasm.") and "__doc__" in vars(kind):
            text = inspect.cleandoc(kind.__doc__)
            assert text
            documented += re.findall(r"^ {4}(\w+): \S", text.partition("Attributes:")[2], re.MULTILINE)
    assert found.__doc__ and documented == [field.name for field in dataclasses.fields(found)]


def bounds(tree):
    """Every option that is refused out of some range: its class, its name, and the bound in the words of the error."""
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        for call in (node for node in ast.walk(owner) if isinstance(node, ast.Call)):
            if dotted(call.func) in ("at_least", "within"):
                bound, *names = map(ast.literal_eval, call.args[1:])
                for name in names:
                    yield owner, name, f">= {bound}" if dotted(call.func) == "at_least" else bound
            elif dotted(call.func) == "require" and isinstance(call.args[1], ast.Constant):
                rule = re.fullmatch(r"(\w+) must (?:be|lie) (?:in )?(> \S+|[\[(].*[\])])", call.args[1].value)
                if rule:
                    yield owner, *rule.groups()


def unsaid(tree):
    """The options whose documentation names another bound than is checked, or none."""
    for owner, name, bound in bounds(tree):
        attributes = (ast.get_docstring(owner) or "").partition("Attributes:")[2]
        said = re.search(rf"^ {{4}}{name}: (.*(?:\n {{8}}.*)*)", attributes, re.MULTILINE)
        if not said or not re.search(re.escape(bound) + r"(?!\.?\d)", " ".join(said[1].split())):
            yield name, bound


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(DASM)))
def test_the_bound_of_every_option_is_documented(file):
    assert list(unsaid(ast.parse(file.read_text()))) == []


BOUNDED = """
class Bounded:
    '''Options.

    Attributes:
        count: of something, >= 1 (20 in the paper).
        share: of something that takes so many words that its bound stands in the
            next line, in [0, 1).
        rate: > 0.
    '''

    def __post_init__(self):
        at_least(self, 1, "count")
        within(self, "[0, 1)", "share")
        require(self.rate > 0, "rate must be > 0", self.rate)
"""


@pytest.mark.parametrize(
    ("said", "instead", "found"),
    [
        (", >= 1 (20", " (20", [("count", ">= 1")]),
        (">= 1 (", ">= 10 (", [("count", ">= 1")]),
        (", in [0, 1).", ".", [("share", "[0, 1)")]),
        ("in [0, 1).", "in [0, 1].", [("share", "[0, 1)")]),
        ("rate: > 0.", "rate: any.", [("rate", "> 0")]),
        ("count: of", "number: of", [("count", ">= 1")]),
        ("Options.", "Options", []),
    ],
)
def test_a_bound_that_is_not_documented_is_found(said, instead, found):
    assert BOUNDED.count(said) == 1
    assert list(unsaid(ast.parse(BOUNDED.replace(said, instead)))) == found


@pytest.mark.parametrize("name", PLUG_INS)
def test_a_plug_in_names_its_source(name):
    text = importlib.import_module(name).__doc__ or ""
    assert re.search(SOURCE, text), f"{name}: the module's docstring must name a year, an arXiv id or a house"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(DASM)))
def test_modules_and_functions_stay_short(file):
    text = file.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, node.name


def offences(tree, file):
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = dotted(node)
            if name.startswith(("np.random", "numpy.random")) or name in ("torch.load", "torch.save"):
                yield name
            if name in ("torch.manual_seed", "torch.cuda.manual_seed", "torch.seed") and file.name != "rng.py":
                yield name
        if isinstance(node, ast.Call) and dotted(node.func) == "print":
            yield "print"
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(kind is None or dotted(kind) in ("Exception", "BaseException") for kind in kinds):
                yield "except Exception"
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None)]
            if {"pickle", "numpy.random", "random"} & set(modules) and not getattr(node, "level", 0):
                yield "import"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(DASM)))
def test_no_global_randomness_no_pickle_no_print_no_blind_except(file):
    assert list(offences(ast.parse(file.read_text()), file)) == []


@pytest.mark.parametrize(
    "line",
    [
        "np.random.rand(3)",
        "torch.manual_seed(0)",
        "torch.load(f)",
        "import pickle",
        "from pickle import loads",
        "print(1)",
        "try: pass\nexcept Exception: pass",
        "try: pass\nexcept (ValueError, Exception): pass",
        "try: pass\nexcept: pass",
    ],
)
def test_the_search_finds_what_it_looks_for(line):
    assert list(offences(ast.parse(line), DASM / "x.py"))
