"""Options default to what the papers state, and the pixels' rule is theirs: written down once more, from the papers."""

from dataclasses import fields, replace

import pytest

from dasm.augment import Operation
from dasm.experts import Experts
from dasm.objectives import Objective
from dasm.pixels import PixelRule
from dasm.plugins import build
from dasm.train import Recipe

DSA: tuple[Operation, ...] = ("one", "color", "crop", "cutout", "flip", "scale", "rotate")
MATCHED = PixelRule(learning_rate=0.1, momentum=0.5, normalised=True)
ADAM = PixelRule(kind="adam", learning_rate=0.25, momentum=0.5, second=0.9, normalised=True, schedule="cosine")

STATED = {
    "gradient": (  # IDC, arXiv 2205.14959, for 32 pixels
        {"metric": "mse", "real_batch": 64, "synthetic_batch": 128, "inner_iterations": 100, "network_images": 2000}
        | {"augmentation": ("color", "crop", "cutout"), "reference_side": 32},
        PixelRule(learning_rate=5e-3, momentum=0.5, by_budget=True),
    ),
    "dc": ({"real_batch": 256, "synthetic_batch": None}, MATCHED),  # arXiv 2006.05929
    "dsa": ({"real_batch": 256, "synthetic_batch": None, "augmentation": DSA}, MATCHED),  # arXiv 2102.08259
    "dm": ({"real_batch": 256, "augmentation": DSA}, replace(MATCHED, learning_rate=1.0)),  # arXiv 2110.04181
    "cafe": (  # arXiv 2203.01531
        {"layer_weights": (0.1, 0.1, 1.0), "discrimination": 0.01, "real_batch": 256, "settled": 0.04, "moved": 0.03},
        MATCHED,
    ),
    "ncfm": (
        {"frequencies": 1024},
        PixelRule(kind="adamw", learning_rate=1e-3, momentum=0.9, decay=5e-4),
    ),  # 2502.20653
    "mtt": (  # arXiv 2203.11932; labels 2310.05773, weights left out 2408.03360
        {"student_steps": 20, "expert_epochs": 3, "min_start_epoch": 0, "max_start_epoch": 25, "step_size": 0.01}
        | {"step_size_rate": 1e-5, "step_size_momentum": 0.5}
        | {"label_rate": None, "label_momentum": 0.9, "skipped_share": 0.0},
        replace(MATCHED, learning_rate=1000.0),
    ),
    "sre2l": (
        {"statistics_weight": 0.01, "classes_per_batch": 100, "augmentation": ("flip", "crop")},
        ADAM,
    ),  # 2306.13092
}


@pytest.mark.parametrize("name", STATED)
def test_an_objective_defaults_to_its_paper(name):
    objective = build(Objective, {"name": name}, "objective")
    options, rule = STATED[name]
    assert {option: getattr(objective, option) for option in options} == options
    assert objective.rule == rule


def test_a_recipe_defaults_to_that_of_idc():
    stated = {"batch_size": 64, "learning_rate": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "decay": 0.2}
    stated |= {"decay_at": (2 / 3, 5 / 6), "augmentation": ("flip", "color", "crop", "scale", "rotate"), "cutmix": 0.5}
    assert {option: getattr(Recipe(), option) for option in stated} == stated


def test_experts_default_to_those_of_mtt():
    defaults = {field.name: field.default for field in fields(Experts)}
    assert (defaults["number"], defaults["epochs"]) == (100, 50)
