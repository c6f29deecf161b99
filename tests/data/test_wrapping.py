"""The contract of every data set that wraps another one: what it leaves as it is, and what it says."""

import dataclasses

import pytest

from dasm.data import Dataset
from dasm.data.digits import Digits
from dasm.data.image_folder import ImageFolder
from dasm.errors import ConfigError
from dasm.images.prepare import write_source
from dasm.images.store import read_task
from dasm.plugins import build, find
from tests.data.wrapping import Given, numbers
from tests.handmade import listed
from tests.pictures import fill, levels

KINDS = {name: find(Dataset, name, "data") for name in listed("data")}
WRAPPERS = [name for name, kind in KINDS.items() if "of" in {field.name for field in dataclasses.fields(kind)}]
# Each of them alone, and around each of the others.
STACKS = [*((name,) for name in WRAPPERS), *((outer, inner) for outer in WRAPPERS for inner in WRAPPERS)]
stacks = pytest.mark.parametrize("stack", STACKS, ids="-".join)


def wrapped(stack, inner):
    for name in reversed(stack):
        inner = KINDS[name](of=inner)
    return inner


def options(stack, inner):
    for name in reversed(stack):
        inner = {"name": name, "of": inner}
    return inner


def test_the_listing_finds_the_wrappers():
    assert {"long_tailed", "noisy"} <= set(WRAPPERS)


@stacks
@pytest.mark.parametrize("drawn", [False, True])
def test_the_splits_are_those_of_the_wrapped_set(stack, drawn):
    inner = Given(sizes=(40, 40, 40), drawn=drawn)
    before, after = inner.open(3), wrapped(stack, inner).open(3)
    for split in ("validation", "test"):
        assert after.splits[split].tolist() == before.splits[split].tolist()
        assert (after.labels[after.splits[split]] == before.labels[before.splits[split]]).all()
    assert set(after.splits["train"]) <= set(before.splits["train"])
    assert (after.where, after.class_names, after.image_shape) == ("given", before.class_names, before.image_shape)


@stacks
def test_the_seed_decides(stack):
    def chosen(seed):
        source = wrapped(stack, Given(sizes=(40, 40, 40))).open(seed)
        train = source.splits["train"]
        return list(zip(train.tolist(), source.labels[train].tolist(), strict=True))

    assert chosen(0) == chosen(0)
    assert len({tuple(chosen(seed)) for seed in range(5)}) == 5


@stacks
def test_pixels_are_read_in_one_pass_and_stay_with_their_labels(stack, tmp_path):
    inner = Given(sizes=(40, 40, 40))
    source = wrapped(stack, inner).open(0)
    assert inner.read == []
    seen = []
    write_source(tmp_path / "real", source, track=lambda work: (seen.append(i) or i for i in work))
    assert inner.read == ["pass"]
    assert seen == list(range(sum(len(indices) for indices in source.splits.values())))
    for made in (read_task(tmp_path / "real"), source.task()):
        for split in ("train", "validation", "test"):
            part = getattr(made, split)
            assert numbers(part.images) == source.splits[split].tolist()
            assert part.labels.tolist() == source.labels[source.splits[split]].tolist()


@stacks
def test_statistics_are_those_of_the_training_images_that_are_left(stack):
    task = wrapped(stack, Digits()).load(0)
    pixels = task.train.images.numpy() / 255
    for part in (task.train, task.validation, task.test):
        assert part.mean.tolist() == pytest.approx([pixels.mean()], rel=1e-6)
        assert part.std.tolist() == pytest.approx([pixels.std()], rel=1e-6)


@stacks
def test_files_are_read_through_it(stack, tmp_path):
    """An image that is left out is read past, not kept."""
    files = {f"{name}/{i}.png": 30 * c + i for c, name in enumerate(("cat", "dog", "eel")) for i in range(30)}
    fill(tmp_path, files)
    inner = ImageFolder(root=str(tmp_path), color="grey")
    source, whole, task = wrapped(stack, inner).open(0), inner.load(0), wrapped(stack, inner).load(0)
    assert levels(task.test) == levels(whole.test)
    shown = {level for level, _ in levels(task.train)}
    assert shown <= {level for level, _ in levels(whole.train)}
    assert len(shown) == len(task.train) == len(source.splits["train"])
    (tmp_path / "dog/3.png").write_bytes(b"just text")
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/dog/3.png: must be a readable image"):
        wrapped(stack, inner).load(0)


@stacks
def test_the_licence_is_passed_on(stack):
    assert wrapped(stack, Digits()).licence == "cc-by-4.0"
    assert wrapped(stack, ImageFolder(root="x")).licence == "unknown"


@stacks
def test_the_wrapped_set_speaks_for_itself(stack, tmp_path):
    with pytest.raises(ConfigError) as caught:
        wrapped(stack, ImageFolder(root=str(tmp_path / "x"))).load(0)
    assert str(caught.value) == f"{tmp_path}/x: must be a readable folder (No such file or directory)"


@stacks
@pytest.mark.parametrize(
    ("inner", "rule"),
    [
        ({"name": "digit"}, ": no dataset called 'digit' (have cifar10, "),
        ({"test": 0.2}, ": needs a 'name', one of cifar10, "),
        ({"name": "digits", "tset": 0.2}, ": no option called 'tset' (have test, validation); did you mean 'test'?"),
        ({"name": "digits", "test": 2}, ": test must be in (0, 1), got 2.0"),
        ("digits", ": must be a mapping of options, got 'digits'"),
    ],
)
def test_what_is_wrong_inside_is_refused_at_its_path(stack, inner, rule):
    with pytest.raises(ConfigError) as caught:
        build(Dataset, options(stack, inner), "data")
    assert str(caught.value).startswith(f"data{'.of' * len(stack)}{rule}")


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_of_nothing_is_refused(name):
    with pytest.raises(ConfigError, match=r"^data: needs of$"):
        build(Dataset, {"name": name}, "data")


@stacks
def test_plain_values_build_it(stack):
    assert build(Dataset, options(stack, {"name": "digits", "test": 0.3}), "data") == wrapped(stack, Digits(test=0.3))
