"""Parameters are read as DVC reads them, and a wrong one gets one line."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from dasm.errors import ConfigError
from pipeline import methods, params
from pipeline.__main__ import main
from pipeline.study import parse
from tests.graph import ROOT

PARAMS = params.read(ROOT / "params.yaml")


def check(values):
    return parse(values)


def test_the_study_in_force_and_the_parked_ones_are_sound():
    for file in [ROOT / "params.yaml", *ROOT.glob("studies/*/params.yaml")]:
        check(params.read(file))


def test_numbers_and_words_are_read_as_yaml_1_2(tmp_path):
    (tmp_path / "p.yaml").write_text("a: 1e-3\nb: no\nc: 0x10\nd: 010\n")
    assert params.read(tmp_path / "p.yaml") == {"a": 1e-3, "b": "no", "c": 16, "d": 10}


def keys(values, path=()):
    if isinstance(values, dict):
        for key, value in values.items():
            yield (*path, key)
            yield from keys(value, (*path, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from keys(value, (*path, index))


@given(st.sampled_from(sorted(keys(PARAMS), key=str)))
def test_any_one_misspelt_key_is_refused_by_name(path):
    values = copy.deepcopy(PARAMS)
    owner = values
    for key in path[:-1]:
        owner = owner[key]
    owner[f"{path[-1]}x"] = owner.pop(path[-1])
    with pytest.raises(ConfigError) as caught:
        check(values)
    message = str(caught.value)
    assert "\n" not in message
    # A misspelt `name` leaves the plug-in unnamed, which is what is said.
    assert f"{path[-1]}x" in message or (path[-1] == "name" and "needs a 'name'" in message), message


CASES = {
    "seed: zero": ("seed", "zero", "seed: must be int, got 'zero'"),
    "seed: true": ("seed", True, "seed: must be int, got True"),
    "width": ("selection.window.width", 2.0, "selection.window: width must be in (0, 1], got 2.0"),
    "type": ("matching.factor", 1.5, "matching.factor: must be int, got 1.5"),
    "plug-in": ("matching.objective.name", "gradeint", "did you mean 'gradient'?"),
    "wrapped plug-in": (
        "data",
        {"name": "noisy", "of": {"name": "digit"}},
        "data.of: no dataset called 'digit' (have ",
    ),
    "wrapped option": (
        "data",
        {"name": "noisy", "of": {"name": "digits", "test": 2}},
        "data.of: test must be in (0, 1",
    ),
    "wrapper": ("data", {"name": "long_tailed", "factor": 0.5, "of": {"name": "digits"}}, "data: factor must be >= 1"),
    "nothing wrapped": ("data", {"name": "noisy", "share": 0.1}, "data: needs of"),
    "literal": ("matching.objective.metric", "l3", "matching.objective.metric: must be one of mse, l1, cosine"),
    "operation": ("benchmark.protocol.recipe.augmentation", ["colour"], "augmentation[0]: must be one of flip, color"),
    "not a mapping": ("evaluator", 3, "evaluator: must be a mapping of options, got 3"),
    "rate of pixels": ("matching.learning_rate", 1e300, "matching.learning_rate: must be in [-3.4e+38, 3.4e+38], got "),
    "rate": ("evaluator.trainer.recipe.learning_rate", 1e30, "recipe: learning_rate must be in (0, 1e9], got 1e+30"),
    "iterations": ("segment.s1.iterations", 10**23, "segment.s1.iterations: must be in [-1e+09, 1e+09], got 1e+23"),
    "distances": ("segment.s1.iterations", 10**9, "segment.s1: iterations must be in [0, 1e8], got 1000000000"),
    "trainings": ("benchmark.protocol.seeds", 10**8, "benchmark.protocol: seeds must be in [1, 1e6], got 100000000"),
    "layers": ("benchmark.networks", [{"name": "mlp", "depth": 10**8}], "depth must be in [1, 1000], got 100000000"),
    "ipc": ("segment.s1.ipc", 0, "segment.s1: ipc must be >= 1, got 0"),
    "coreset": ("coresets", ["randon"], "benchmark.arms must be ('dasm', 'sequential', 'idc', 'randon')"),
    "arms": ("benchmark.arms", ["dasm"], "benchmark.arms must be"),
    "chain": ("chain", [{"k": 1, "next": 2}], "chain must count k = 0, 1"),
    "segments": ("segment", {"s0": {"ipc": 1, "iterations": 1}}, "segment must have s0, s1"),
    "networks": ("benchmark.networks", [], "benchmark: networks must be at least one, got []"),
    "twice": ("benchmark.networks", [{"name": "mlp"}, {"name": "mlp"}], "of different names, got ['mlp', 'mlp']"),
    "states": ("benchmark.states", [1, 9], "benchmark.states must be in 1 … 3, got [1, 9]"),
    "states twice": ("benchmark.states", [3, 3], "benchmark: states must differ, got [3, 3]"),
    "no arm": ("arms", [], "arms must be at least one, got [] (all others are compared with the first)"),
    "an arm's name": ("arms", ["dasm", "a/b"], "letters, digits, - and _ alone, and none called real or full"),
    "an arm's long name": ("arms", ["a" * 65], "arms, controls and coresets must be at most 64 letters, digits, - and"),
    "an arm called real": ("arms", ["real"], "and none called real or full, got 'real'"),
    "a control called full": ("controls", ["full"], "and none called real or full, got 'full'"),
    "a study's name": ("study", "mine/first", "study must be at most 64 letters, digits, - and _ alone, got 'mine/fi"),
    "a top-level name": ("methods", {}, "no option called 'methods' (have study, "),
    "a suggestion": ("methods", {}, "benchmark, method); did you mean 'method'?"),
    "infinite": ("matching.learning_rate", float("inf"), "matching.learning_rate: must be finite, got inf"),
    "no number": ("evaluator.trainer.recipe.cutmix", float("nan"), "recipe.cutmix: must be finite, got nan"),
    "one": ("benchmark.protocol.recipe.augmentation", ["one"], "recipe: augmentation: one must have others to pick"),
    "rescore": ("rescore", [{"k": 0, "next": 1}], "rescore must reach the last segment but one, got 1"),
}


def put(values, path, value):
    *owners, last = path.split(".")
    for key in owners:
        values = values[key]
    values[last] = value


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_value_gets_its_path_the_rule_and_the_value(case):
    path, value, expected = CASES[case]
    values = copy.deepcopy(PARAMS)
    put(values, path, value)
    with pytest.raises(ConfigError) as caught:
        check(values)
    assert expected in str(caught.value)


@pytest.mark.parametrize("whose", ["shared", "own", "coreset"])
def test_a_score_that_asks_convolutions_is_refused_where_there_are_none(whose):
    """Before a teacher is trained, where only the first score would find it."""
    values = copy.deepcopy(PARAMS) | {"controls": [], "coresets": ["window"] if whose == "coreset" else []}
    values["benchmark"]["arms"] = ["dasm", *values["coresets"]]
    score, mlp = {"score": {"name": "gps"}}, {"trainer": {"network": {"name": "mlp"}}}
    values["method"] = {"dasm": {"selection": score}}
    said = "arm 'dasm', the arm's own too"
    if whose == "own":
        values["method"]["dasm"]["evaluator"] = mlp
    else:
        values["evaluator"]["trainer"]["network"] = mlp["trainer"]["network"]
    if whose == "coreset":
        values["method"], said = {"window": {"coreset": score}}, "the coreset 'window'"
    with pytest.raises(ConfigError) as caught:
        check(values)
    rule = "evaluator.trainer.network must have convolutions for the score 'gps', got 'mlp'"
    assert str(caught.value) == f"{rule} ({said})"
    score["score"] = {"name": "loss"}
    check(values)


@pytest.mark.parametrize("objective", ["dc", "dsa"])
@pytest.mark.parametrize("factor", [1, 3])
def test_sets_that_are_larger_than_the_published_loops_are_refused_before_anything_is_trained(objective, factor):
    """Frozen segments and the new one, tiles counted one by one: what the objective asks for in the last segment."""
    values = copy.deepcopy(PARAMS) | {"controls": ["idc"], "coresets": []}
    values["benchmark"]["arms"] = ["dasm", "idc"]
    largest = 50 // factor**2
    values["segment"] = {f"s{k}": {"ipc": largest // 5, "iterations": 1} for k in range(3)}
    values["segment"]["s2"]["ipc"] = largest - 2 * (largest // 5)
    change = {"matching": {"factor": factor, "match_prefix": False, "objective": {"name": objective}}}
    for arm, departure in (("dasm", change), ("idc", {"joint": True, **change})):
        values["method"] = {"idc": {"joint": True}} | {arm: departure}
        values["segment"]["s2"]["ipc"] = largest - 2 * (largest // 5)
        check(values)
        values["segment"]["s2"]["ipc"] += 1
        with pytest.raises(ConfigError) as caught:
            check(values)
        rule = "outer and inner are published for up to 50 training images per class"
        count = (largest + 1) * factor**2
        assert str(caught.value) == f"method.{arm}.matching.objective: {rule}, got {count} (give both)"
        given = {**change["matching"], "objective": {"name": objective, "outer": 10, "inner": 10}}
        values["method"][arm] = {**departure, "matching": given}
        check(values)


MTT = {"name": "mtt", "max_start_epoch": 2, "expert_epochs": 1}
ZOO = params.read(ROOT / "studies/zoo/params.yaml")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"experts.epochs": 1}, "experts.epochs must be >= 2, which arm 'dasm' follows, got 1"),
        ({"experts.trainer.network.width": 7}, "experts.trainer.network must be that of the matching of arm 'dasm', "),
        (
            {"selection.first_window": "window"},
            "selection.first_window must be all for arm 'dasm', whose first segment",
        ),
        ({"selection.first_window": "window", "matching.windowed": "initial"}, None),
        ({"controls": ["plain"]}, "method.plain: a control that follows experts must be joint"),
        ({"experts": None}, "experts must be described, because arm 'dasm' follows them (mtt), got None"),
    ],
)
def test_experts_fit_whoever_follows_them(change, expected):
    values = copy.deepcopy(PARAMS) | {"arms": ["dasm"], "controls": [], "coresets": [], "method": {}}
    values["matching"]["objective"] = MTT
    values["matching"]["match_prefix"] = False
    values["experts"] = copy.deepcopy(ZOO["experts"])
    values["experts"]["trainer"]["network"] = copy.deepcopy(values["matching"]["trainer"]["network"])
    for path, value in change.items():
        put(values, path, value)
    values["benchmark"]["arms"] = values["arms"] + values["controls"]
    if expected is None:
        check(values)
        return
    with pytest.raises(ConfigError) as caught:
        check(values)
    assert expected in str(caught.value)


@pytest.mark.parametrize("nothing", [None, {}])
def test_a_study_in_which_nobody_departs_may_leave_method_empty(nothing):
    """As docs/your-own-data.md has it for whoever wants no baselines."""
    values = copy.deepcopy(PARAMS) | {"arms": ["dasm"], "controls": [], "coresets": [], "method": nothing}
    values["benchmark"]["arms"] = ["dasm"]
    check(values)
    assert (methods.is_joint(values, "dasm"), methods.effort(values, "dasm")) == (False, 1.0)
    with pytest.raises(ConfigError, match=r"method: must be a mapping of arms, got \['dasm'\]"):
        check(values | {"method": ["dasm"]})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["distill", "dasm", "one"], "error: k: must be a number from 0, got 'one'"),
        (["train", "dasm", "-1"], "error: state: must be a number from 0, got '-1'"),
        (["control", "idc", "0"], "error: data/blueprint/arms/idc/prefix/1.json: no such file (`dvc repro` makes what"),
        (["plan", "3"], "error: params.yaml: needs rescore"),
    ],
)
def test_a_stage_called_by_hand_says_what_it_misses(tmp_path, monkeypatch, capsys, arguments, expected):
    monkeypatch.chdir(tmp_path)
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump({key: value for key, value in PARAMS.items() if key != "rescore"}, file)
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(expected)


def test_the_command_line_prints_one_line_and_exits_with_one(tmp_path, monkeypatch, capsys):
    values = copy.deepcopy(PARAMS)
    values["matching"]["objectiv"] = values["matching"].pop("objective")
    with (tmp_path / "params.yaml").open("w") as file:
        YAML().dump(values, file)
    monkeypatch.chdir(tmp_path)
    assert main(["check"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "error: matching: no option called 'objectiv' (have objective, trainer, factor, learning_rate, momentum, "
        "match_prefix, budget, even_rate, windowed, learns_from, patience, tolerance); did you mean 'objective'?"
    ]


@pytest.mark.parametrize("text", ["1" * 5000, "2020-99-99"], ids=["a number", "a day"])
def test_a_value_that_python_cannot_read_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "params.yaml").write_text(f"seed: {text}\n")
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/params\.yaml: must be YAML \(.+\)$"):
        params.read(tmp_path / "params.yaml")


@pytest.mark.parametrize("arguments", [["distil"], [], ["distill", "dasm"], ["plan", "0"]])
def test_commands_that_do_not_exist_are_refused(arguments, capsys):
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert len(said.err.splitlines()) == 1, said.err
    assert not said.out


@pytest.mark.parametrize("text", ["", "- a", "a: [", None])
def test_a_file_that_is_no_mapping_is_refused(tmp_path, text):
    if text is not None:
        (tmp_path / "p.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"p\.yaml"):
        params.read(tmp_path / "p.yaml")
