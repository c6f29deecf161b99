import importlib
import re
import sys
from dataclasses import dataclass
from typing import Literal, NewType

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

import dasm.networks
from dasm.coresets import Coreset
from dasm.data import Dataset
from dasm.errors import ConfigError, require
from dasm.matching import Matching
from dasm.networks import Network
from dasm.networks.convnet import ConvNet
from dasm.objectives import Objective
from dasm.plugins import available, build, find, name_of
from dasm.scores import Score
from dasm.selection import Selection
from dasm.train import Trainer
from dasm.windows import Window
from dasm.windows.budget import Budget
from tests.handmade import listed

KINDS = {
    "coresets": Coreset,
    "data": Dataset,
    "networks": Network,
    "objectives": Objective,
    "scores": Score,
    "windows": Window,
}


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float = 0.5

    def __post_init__(self):
        require(0 <= self.share <= 1, "share must be in [0, 1]", self.share)


Seed = NewType("Seed", int)


@dataclass(frozen=True, kw_only=True)
class Number:
    any: float = 0.0
    seed: Seed = 0


@dataclass(frozen=True, kw_only=True)
class Outer:
    count: int
    share: float = 0.5
    on: bool = False
    title: str | None = None
    mode: Literal["fast", "slow"] = "fast"
    level: Literal[1, 10] = 1
    sides: tuple[int, ...] = (1, 2)
    inner: Inner = Inner()
    parts: dict[str, Inner] | None = None


def refusal(values, kind=Outer, where="outer"):
    with pytest.raises(ConfigError) as caught:
        build(kind, values, where)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_plain_values_become_the_dataclass():
    values = {"count": 3, "title": "x", "mode": "slow", "sides": [4, 5], "inner": {"share": 1}, "parts": {"a": {}}}
    expected = Outer(count=3, title="x", mode="slow", sides=(4, 5), inner=Inner(share=1.0), parts={"a": Inner()})
    assert build(Outer, values, "outer") == expected


def test_options_that_are_not_given_take_their_defaults():
    assert build(Outer, {"count": 3}, "outer") == Outer(count=3)


def test_an_integer_is_taken_for_a_float_and_becomes_one():
    share = build(Outer, {"count": 1, "share": 1}, "outer").share
    assert type(share) is float and share == 1.0


def test_nothing_is_taken_where_none_is_allowed():
    assert build(Outer, {"count": 1, "title": None}, "outer").title is None


def test_an_unknown_key_is_refused_with_the_nearest_one():
    assert refusal({"count": 1, "shar": 0.1}) == (
        "outer: no option called 'shar' (have count, share, on, title, mode, level, sides, inner, parts);"
        " did you mean 'share'?"
    )


def test_an_unknown_key_like_no_other_is_refused_without_a_suggestion():
    assert "did you mean" not in refusal({"count": 1, "zzzzzz": 0.1})


def test_a_missing_key_is_named():
    assert refusal({}) == "outer: needs count"


@pytest.mark.parametrize(
    ("key", "value", "rule"),
    [
        ("count", True, "must be int, got True"),
        ("count", 1.0, "must be int, got 1.0"),
        ("count", "1", "must be int, got '1'"),
        ("count", None, "must be int, got None"),
        ("share", "0.5", "must be float, got '0.5'"),
        ("share", True, "must be float, got True"),
        ("on", 1, "must be bool, got 1"),
        ("on", "yes", "must be bool, got 'yes'"),
        ("title", 3, "must be str, got 3"),
        ("mode", "fats", "must be one of fast, slow, got 'fats'"),
        ("mode", ["fast"], "must be one of fast, slow, got ['fast']"),
        ("level", 10.0, "must be one of 1, 10, got 10.0"),
        ("level", True, "must be one of 1, 10, got True"),
        ("level", "1", "must be one of 1, 10, got '1'"),
        ("sides", 3, "must be a list, got 3"),
        ("sides", "12", "must be a list, got '12'"),
        ("inner", 3, "must be a mapping of options, got 3"),
        ("parts", [1], "must be a mapping, got [1]"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused_at_its_path(key, value, rule):
    assert refusal({"count": 1} | {key: value}) == f"outer.{key}: {rule}"


def test_an_item_of_a_list_is_refused_at_its_place():
    assert refusal({"count": 1, "sides": [1, "x"]}) == "outer.sides[1]: must be int, got 'x'"


def test_a_number_out_of_range_is_refused_at_its_dotted_path():
    assert refusal({"count": 1, "inner": {"share": 2}}) == "outer.inner: share must be in [0, 1], got 2.0"
    nested = refusal({"count": 1, "parts": {"a": {"share": 2}}})
    assert nested == "outer.parts.a: share must be in [0, 1], got 2.0"


def test_the_name_of_the_file_is_no_part_of_the_path():
    assert refusal({"count": "x"}, where="params.yaml") == "count: must be int, got 'x'"


def test_an_unknown_plug_in_is_refused_with_the_list_and_the_nearest_one():
    message = refusal({"name": "convet"}, Network, "network")
    assert message.startswith("network: no network called 'convet' (have ")
    assert all(name in message for name in listed("networks"))
    assert message.endswith("did you mean 'convnet'?")


@pytest.mark.parametrize("name", ["os", "__init__", "../mlp", "", 3, None, ["mlp"]])
def test_only_a_file_of_the_folder_is_a_plug_in(name):
    assert "no network called" in refusal({"name": name}, Network, "network")


def test_a_plug_in_without_its_name_is_refused_with_the_list():
    assert refusal({"width": 3}, Network, "network").startswith(
        f"network: needs a 'name', one of {listed('networks')[0]}"
    )


def test_a_plug_in_refuses_options_that_it_does_not_have():
    assert refusal({"name": "loss", "width": 3}, Score, "score") == "score: no option called 'width' (have none)"


def test_a_plug_in_takes_its_options():
    assert build(Network, {"name": "convnet", "width": 7}, "network") == ConvNet(width=7)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_name_is_the_plug_in(kind):
    assert available(KINDS[kind]) == listed(kind)
    for name in listed(kind):
        found = find(KINDS[kind], name, kind)
        assert found.__module__ == f"dasm.{kind}.{name}"
        assert name_of(found.__new__(found)) == name


NESTED = {
    "matching": (
        Matching,
        {
            "objective": {"name": "gradient", "metric": "l1", "real_batch": 3},
            "trainer": {
                "network": {"name": "convnet", "width": 4, "depth": 2},
                "recipe": {"batch_size": 4, "decay_at": [0.5], "cutmix": 0},
            },
            "factor": 2,
        },
    ),
    "selection": (
        Selection,
        {"score": {"name": "loss"}, "window": {"name": "budget", "width": 0.4}, "first_window": "all"},
    ),
}


def key_paths(values, path=()):
    for key, value in values.items():
        if key != "name":
            yield (*path, key)
        if isinstance(value, dict):
            yield from key_paths(value, (*path, key))


def renamed(values, path, new):
    key, *rest = path
    if rest:
        return values | {key: renamed(values[key], rest, new)}
    return {new if name == key else name: value for name, value in values.items()}


@given(st.data())
def test_any_one_misspelt_key_is_reported_with_its_path(data):
    where, (kind, values) = data.draw(st.sampled_from(sorted(NESTED.items())))
    build(kind, values, where)
    path = data.draw(st.sampled_from(sorted(key_paths(values))))
    at, letter = data.draw(st.integers(0, len(path[-1]))), data.draw(st.sampled_from("xq_7"))
    wrong = path[-1][:at] + letter + path[-1][at:]
    assume(wrong != path[-1])
    message = refusal(renamed(values, path, wrong), kind, where)
    assert message.startswith(f"{'.'.join((where, *path[:-1]))}: no option called {wrong!r} (have ")


PLUG_IN = """
from dataclasses import dataclass
from typing import final
from torch import nn
from dasm.networks import Classifier, Network

@final
@dataclass(frozen=True, kw_only=True)
class Flat(Network):
    scale: int = 1

    def build(self, image_shape, num_classes, stream):
        c, h, w = image_shape
        return Classifier(nn.Flatten(), nn.Linear(c * h * w, num_classes))
"""


@pytest.fixture
def plug_in_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(dasm.networks, "__path__", [*dasm.networks.__path__, str(tmp_path)])
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if name.startswith("dasm.networks."):
            del sys.modules[name]
            delattr(dasm.networks, name.rpartition(".")[2])
    importlib.invalidate_caches()


def test_one_new_file_is_one_new_plug_in(plug_in_folder, blobs):
    (plug_in_folder / "flat.py").write_text(PLUG_IN)
    assert "flat" in available(Network)
    trainer = build(Trainer, {"network": {"name": "flat", "scale": 2}, "recipe": {"cutmix": 0}}, "trainer")
    assert trainer.network.scale == 2
    assert trainer.train(blobs, 2, stream=0)[0].head.in_features == 64
    assert "scale must be" not in refusal({"name": "flat", "scale": "x"}, Network, "network")


def test_a_part_is_called_by_its_file_whatever_its_class_and_whatever_it_wraps(plug_in_folder):
    (plug_in_folder / "not_flat.py").write_text(PLUG_IN)
    (plug_in_folder / "folder").mkdir()
    (plug_in_folder / "folder/__init__.py").write_text(PLUG_IN)
    for name in ("not_flat", "folder"):
        assert name_of(build(Network, {"name": name}, "network")) == name
    assert name_of(build(Window, {"name": "static", "window": {"name": "hard_filter"}}, "window")) == "static"
    assert name_of(Inner()) == "test_plugins"


def test_a_file_with_a_leading_underscore_is_no_plug_in(plug_in_folder):
    (plug_in_folder / "_flat.py").write_text(PLUG_IN)
    assert "_flat" not in available(Network)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("empty", "from dasm.networks.mlp import MLP\n", r"\[\]"),
        ("double", PLUG_IN + PLUG_IN.replace("class Flat", "class Second"), r"\['Flat', 'Second'\]"),
    ],
)
def test_a_file_with_no_class_or_with_two_is_refused(plug_in_folder, name, text, found):
    (plug_in_folder / f"{name}.py").write_text(text)
    with pytest.raises(ConfigError, match=rf"^{name}.py: must define exactly one Network, got {found}$"):
        find(Network, name, "network")


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("def f(:\n", 1, r"SyntaxError: .+"),
        ("x = 1\nimport not_there\n", 2, "ModuleNotFoundError: No module named 'not_there'"),
        ("from dasm.networks import Klassifier\n", 1, "ImportError: cannot import name 'Klassifier' from .+"),
        ("import json\n\njson.loads('')\n", 3, "JSONDecodeError: Expecting value: .+"),
        ("raise ValueError('one\\ntwo')\n", 1, "ValueError: one two"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_at_its_line(plug_in_folder, text, line, said):
    (plug_in_folder / "broken.py").write_text(text)
    message = refusal({"name": "broken"}, Network, "network")
    assert re.fullmatch(
        rf"dasm/networks/broken\.py, line {line}: must be a file that Python can import, got {said}", message
    )


def test_a_class_that_is_no_dataclass_is_refused(plug_in_folder):
    (plug_in_folder / "plain.py").write_text(re.sub(r"^@dataclass.*\n", "", PLUG_IN, flags=re.MULTILINE))
    said = "plain.py: Flat must be a dataclass, got a class without @dataclass"
    assert refusal({"name": "plain"}, Network, "network") == said


def test_a_whole_number_that_no_float_holds_is_refused():
    said = refusal({"name": "budget", "width": 10**400}, Window, "window")
    assert said == "window.width: must be in [-3.4e+38, 3.4e+38], got more"


def test_numbers_that_torch_or_no_memory_can_hold_are_refused():
    """Whatever they count: torch would say so hours later, in words of its own."""
    assert refusal({"count": 10**23}) == "outer.count: must be in [-1e+09, 1e+09], got 1e+23"
    assert refusal({"count": 1, "sides": [2, -(2**63)]}) == "outer.sides[1]: must be in [-1e+09, 1e+09], got -9.22e+18"
    assert refusal({"count": 10**5000}) == "outer.count: must be in [-1e+09, 1e+09], got more"
    assert refusal({"count": 1, "share": 1e300}) == "outer.share: must be in [-3.4e+38, 3.4e+38], got 1e+300"
    assert build(Outer, {"count": 10**9, "sides": [-(10**9)]}, "outer").count == 10**9
    largest = torch.finfo(torch.float32).max
    assert build(Number, {"any": -largest}, "x").any == -largest and torch.tensor(largest).isfinite()


def test_a_seed_counts_nothing_and_may_be_any_integer():
    assert build(Number, {"seed": 2**128}, "x").seed == 2**128
    assert refusal({"seed": True}, Number, "x") == "x.seed: must be int, got True"


def test_a_class_that_lacks_a_method_is_refused(plug_in_folder):
    (plug_in_folder / "half.py").write_text(PLUG_IN.replace("def build", "def make"))
    assert refusal({"name": "half"}, Network, "network") == "half.py: Flat must define build, got none"


def test_the_rules_of_a_plug_in_carry_its_path():
    message = refusal({"score": {"name": "loss"}, "window": {"name": "budget", "width": 2}}, Selection, "dasm")
    assert message == "dasm.window: width must be in (0, 1], got 2.0"
    assert build(Window, {"name": "budget", "width": 1}, "window") == Budget(width=1.0)
