"""One new file is one new score, window or coreset, and nothing else changes."""

import importlib
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from dasm.coresets import Coreset
from dasm.difficulty import measure
from dasm.errors import ConfigError
from dasm.plugins import available, build, find
from dasm.scores import Score
from dasm.scores.loss import Loss
from dasm.selection import Selection
from dasm.windows import Window
from dasm.windows.static import Static
from dasm.windows.tail import Tail
from tests.handmade import DASM, answering, difficulty_of, listed, one_hot_set

KINDS = {"scores": Score, "windows": Window, "coresets": Coreset}
# Each kind with an existing plug-in, a class in it, and options for it under another name.
COPIED = {
    "scores": ("margin", "Margin", {}),
    "windows": ("tail", "Tail", {"width": 0.25}),
    "coresets": ("ccs", "CCS", {"cut": 0.1, "score": {"name": "margin"}}),
}


@pytest.fixture(params=KINDS)
def added(request, tmp_path, monkeypatch):
    """A kind whose folder has one more file, `zebra.py`, in another place of the disk."""
    kind = request.param
    package = sys.modules[f"dasm.{kind}"]
    before = {name: (DASM / kind / f"{name}.py").read_bytes() for name in listed(kind)}
    source, class_name, options = COPIED[kind]
    text = Path(DASM / kind / f"{source}.py").read_text()
    (tmp_path / "zebra.py").write_text(text.replace(f"class {class_name}(", "class Zebra("))
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    yield kind, options
    sys.modules.pop(f"dasm.{kind}.zebra", None)
    vars(package).pop("zebra", None)
    importlib.invalidate_caches()
    assert before == {name: (DASM / kind / f"{name}.py").read_bytes() for name in listed(kind)}


def test_a_new_file_is_found_and_built_by_its_name(added):
    kind, options = added
    found = build(KINDS[kind], {"name": "zebra", **options}, kind)
    assert type(found).__name__ == "Zebra" and isinstance(found, KINDS[kind])
    twin = build(KINDS[kind], {"name": COPIED[kind][0], **options}, kind)
    assert vars(found) == vars(twin) and type(found) is not type(twin)


def test_a_new_file_changes_no_other_plug_in(added):
    kind, _ = added
    assert available(KINDS[kind]) == sorted([*listed(kind), "zebra"])
    for name in listed(kind):
        assert find(KINDS[kind], name, kind).__module__ == f"dasm.{kind}.{name}"
    for other in KINDS.keys() - {kind}:
        assert available(KINDS[other]) == listed(other)


def test_a_new_file_is_offered_where_a_name_is_misspelt(added):
    kind, _ = added
    with pytest.raises(ConfigError, match=r"did you mean 'zebra'\?$"):
        find(KINDS[kind], "zebar", kind)


def test_a_file_that_is_gone_is_gone():
    for kind, parent in KINDS.items():
        assert available(parent) == listed(kind)
        with pytest.raises(ConfigError, match=r"^x: no \w+ called 'zebra' \(have "):
            build(parent, {"name": "zebra"}, "x")


@pytest.mark.parametrize("name", ["anchor", "soft", "static"])
def test_a_window_around_a_window_is_built_from_nested_names(name):
    values = {"name": name, "window": {"name": "static", "window": {"name": "budget", "width": 0.25}}}
    assert build(Window, values, "window").window.window.width == 0.25
    values["window"]["window"]["widht"] = 0.5
    with pytest.raises(ConfigError, match=r"^window\.window\.window: no option called 'widht' .*'width'\?$"):
        build(Window, values, "window")
    with pytest.raises(ConfigError, match=r"^window: needs window$"):
        build(Window, {"name": name}, "window")


# Class 0 is easy, class 1 hard: scores 0 to 3 and 2 to 5; the two of score 2 and of 3 tie, and go by position.
UNEVEN = difficulty_of([0.0, 1.0, 2.0, 3.0, 2.0, 3.0, 4.0, 5.0], [0, 0, 0, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("ranks", "kept"),
    [("class", [2, 3, 6, 7]), ("all", [3, 5, 6, 7])],
)
@pytest.mark.parametrize("frozen", [False, True])
def test_images_are_ranked_inside_their_class_or_among_all(ranks, kept, frozen):
    window = Tail(width=0.5)
    selection = Selection(score=Loss(), window=Static(window=window) if frozen else window, ranks=ranks)
    opposite = replace(UNEVEN, score=-UNEVEN.score)
    now, first = (opposite, UNEVEN) if frozen else (UNEVEN, opposite)
    weights = selection.weigh(now, first=first, segments=1, prefix_ipc=1, planned_ipc=1, seed=0)
    assert weights.nonzero().flatten().tolist() == kept
    assert UNEVEN.rank.tolist() == [0, 0.25, 0.5, 0.75] * 2, "tables go on saying ranks inside classes"


class Wrong(Window):
    """Returns what it was made with, whatever it is asked."""

    def __init__(self, weights):
        self.weights = torch.tensor(weights)

    def __call__(self, difficulty, progress):  # noqa: ARG002
        return self.weights


@pytest.mark.parametrize(
    ("weights", "rule"),
    [
        ([1.0, 1.0], "must return a finite weight >= 0 for each of 3 images, got [2]"),
        ([1.0, float("nan"), -1.0], "must return a finite weight >= 0 for every image, got 2 others"),
        ([1.0, float("inf"), 1.0], "must return a finite weight >= 0 for every image, got 1 others"),
    ],
)
def test_a_window_that_returns_no_weights_is_named_where_it_does(weights, rule):
    selection = Selection(score=Loss(), window=Wrong(weights))
    with pytest.raises(ConfigError) as caught:
        selection.weigh(
            difficulty_of([1.0, 2.0, 3.0], [0, 0, 0]), first=None, segments=1, prefix_ipc=1, planned_ipc=2, seed=0
        )
    assert str(caught.value) == f"window test_selectors: {rule}"


@pytest.mark.parametrize(
    ("scores", "rule"),
    [
        ([1.0], "must return a finite number for each of 2 images, got [1]"),
        ([1.0, float("nan")], "must return a finite number for every image, got 1 others"),
    ],
)
def test_a_score_that_returns_no_numbers_is_named_where_it_does(scores, rule):
    class Odd(Score):
        def __call__(self, real, snapshots, reference):  # noqa: ARG002
            return torch.tensor(scores)

    data = one_hot_set([0, 1])
    with pytest.raises(ConfigError) as caught:
        measure(data, [[answering(torch.eye(2))]], Odd())
    assert str(caught.value) == f"score test_selectors: {rule}"
