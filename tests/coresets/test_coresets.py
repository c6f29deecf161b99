"""The contract of every coreset in the folder, and the mosaic against what distillation starts from."""

from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from dasm.coresets import Coreset, Guide, Picked
from dasm.coresets.mosaic import Mosaic
from dasm.difficulty import measure
from dasm.errors import ConfigError
from dasm.formation import mosaic
from dasm.matching import Matching
from dasm.networks.convnet import ConvNet
from dasm.objectives.gradient import Gradient
from dasm.plugins import build, find
from dasm.segments import SegmentPlan, distil_segment, freeze
from dasm.selection import Selection
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.handmade import listed, readings

# All but the set of a file are picked from the real images.
PICKED = [name for name in listed("coresets") if issubclass(find(Coreset, name, "coreset"), Picked)]
every_coreset = pytest.mark.parametrize("name", listed("coresets"))
every_rule = pytest.mark.parametrize("name", PICKED)
# The choices of these are another for every count: their prefixes are coresets, but not their own of that size.
NOT_NESTED = ["ccs", "given", "k_means", "window"]


def made(name, **options):
    return build(Coreset, {"name": name, **options}, "coreset")


@cache
def snapshots():
    recipe = Recipe(batch_size=16, learning_rate=0.05, augmentation=(), cutmix=0.0)
    return Trainer(network=ConvNet(width=4, depth=2), recipe=recipe).train(make_blobs(16, 0), 8, 0, snapshots=4)


def guide(real) -> Guide:
    """One network, briefly trained, with four snapshots; a judge that likes low indices."""
    return Guide(readings=[readings(real, *snapshots())], judge=lambda rows: 1 / (1 + float(rows.float().mean())))


def picked(name, real, count, seed):
    return made(name)(real, count, seed, guide(real))


def test_who_needs_a_file():
    assert {*listed("coresets")} - {*PICKED} == {"given"}


@every_coreset
@pytest.mark.parametrize("factor", [1, 2])
def test_segments_are_stored_class_by_class_in_the_sizes_of_the_study(name, factor, tmp_path):
    real, sizes = make_blobs(24, 0), [2, 1, 3]
    save_file({"images": real.images, "labels": real.labels}, tmp_path / "set.safetensors")
    coreset = made(name) if name in PICKED else made(name, path=str(tmp_path / "set.safetensors"), factor=factor)
    coreset.check(real, sizes)
    found = list(coreset.segments(real, sizes, factor=factor, seed=0, guide=guide(real)))
    assert [segment.index for segment in found] == [0, 1, 2]
    used = []
    for ipc, segment in zip(sizes, found, strict=True):
        assert segment.labels.tolist() == [label for label in range(3) for _ in range(ipc)]
        assert segment.images.shape == (3 * ipc, *real.image_shape) and segment.images.dtype == torch.uint8
        assert segment.factor in (1, factor) and segment.sources.shape == (3 * ipc, segment.factor**2)
        assert (segment.lower, segment.upper, segment.iterations) == (0.0, 1.0, 0)
        for image, label, row in zip(segment.images, segment.labels, segment.sources, strict=True):
            if name in PICKED:
                assert (real.labels[row] == label).all()
                assert torch.equal(image, freeze(mosaic(real.pixels(row), segment.factor))[0])
            else:
                assert (row == -1).all()
        used += segment.sources.flatten().tolist()
    assert name not in PICKED or len(set(used)) == len(used)


@every_rule
@pytest.mark.parametrize("count", [1, 5, 16])
def test_every_class_gives_as_many_images_and_none_twice(name, count, blobs):
    rows = picked(name, blobs, count, 0)
    assert rows.shape == (3, count)
    for label, row in enumerate(rows):
        assert (blobs.labels[row] == label).all()
        assert len(set(row.tolist())) == count


@every_rule
def test_classes_may_be_uneven(name, blobs):
    uneven = blobs.subset(torch.cat([blobs.members(label)[:size] for label, size in enumerate((16, 5, 2))]))
    rows = picked(name, uneven, 2, 0)
    assert (uneven.labels[rows] == torch.arange(3)[:, None]).all()
    assert rows[2].sort().values.tolist() == uneven.members(2).tolist()


def test_who_says_that_prefixes_are_its_own_choices():
    assert [name for name in listed("coresets") if not find(Coreset, name, "coreset").nested] == NOT_NESTED


@pytest.mark.parametrize("name", [name for name in PICKED if name not in NOT_NESTED])
def test_every_prefix_is_the_coreset_of_its_size(name, blobs):
    whole = picked(name, blobs, 12, 3)
    for count in (1, 4, 9):
        assert torch.equal(picked(name, blobs, count, 3), whole[:, :count])


@every_rule
def test_the_choice_depends_on_its_arguments_alone(name, blobs):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = picked(name, blobs, 8, 0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert torch.equal(picked(name, blobs, 8, 0), first)


@pytest.mark.parametrize("name", ["random", "mosaic"])
def test_random_choices_differ_between_seeds_zero_and_negative_ones_included(name, blobs):
    choices = [tuple(picked(name, blobs, 8, seed).flatten().tolist()) for seed in (-1, 0, 1, 2)]
    assert len(set(choices)) == 4


@every_rule
def test_too_few_images_are_one_line_with_the_class_and_the_numbers(name, blobs):
    fewer = blobs.subset(torch.arange(len(blobs) - 12))
    with pytest.raises(ConfigError) as caught:
        picked(name, fewer, 5, 0)
    message = str(caught.value)
    assert "class 2" in message and "at least 5 training images, got 4" in message and "\n" not in message


@every_rule
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_a_coreset_is_stored_at_full_size_or_as_mosaics(name, factor):
    assert made(name).tiles(factor) in (1, factor)


def test_random_images_are_stored_whole_and_mosaics_are_tiled():
    assert [made("random").tiles(f) for f in (1, 2, 3)] == [1, 1, 1]
    assert [made("mosaic").tiles(f) for f in (1, 2, 3)] == [1, 2, 3]


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("seed", [0, 7])
def test_the_mosaic_is_what_distillation_without_a_window_starts_from(factor, seed, trainer):
    real = make_blobs(20, 0)
    matching = Matching(objective=Gradient(), trainer=trainer, factor=factor)
    prefix = []
    for ipc in (2, 1):
        segment, history = distil_segment(
            matching,
            SegmentPlan(ipc=ipc, iterations=0),
            real,
            prefix,
            weights=torch.ones(len(real)),
            rank=None,
            planned_ipc=3,
            seed=seed,
        )
        assert len(history) == 0
        prefix.append(segment)
    rows = Mosaic()(real, 3 * factor**2, seed, guide(real))
    first, second = rows[:, : 2 * factor**2], rows[:, 2 * factor**2 :]
    for segment, part in zip(prefix, (first, second), strict=True):
        images = torch.cat([mosaic(real.pixels(row), factor) for row in part])
        assert torch.equal(segment.images, freeze(images))
        assert sorted(segment.sources.flatten().tolist()) == sorted(part.flatten().tolist())


@pytest.mark.parametrize("factor", [1, 2])
@pytest.mark.parametrize("window", [{"name": "hard_filter", "share": 0.4}, {"name": "random", "width": 0.6}])
def test_a_mosaic_under_a_window_is_what_joint_distillation_under_it_starts_from(factor, window, trainer):
    real, count = make_blobs(40, 0), 4 * factor**2
    selection = build(Selection, {"score": {"name": "el2n"}, "window": window, "first_window": "window"}, "selection")
    difficulty = measure(real, [snapshots()], selection.score)
    weights = selection.weigh(difficulty, first=None, segments=0, prefix_ipc=0, planned_ipc=4, seed=3)
    segment, _ = distil_segment(
        Matching(objective=Gradient(), trainer=trainer, factor=factor),
        SegmentPlan(ipc=4, iterations=0),
        real,
        [],
        weights=weights,
        rank=difficulty.rank,
        planned_ipc=4,
        seed=3,
    )
    rows = made("mosaic", window=window, score={"name": "el2n"})(real, count, 3, guide(real))
    assert rows.sort(1).values.tolist() == segment.sources.reshape(3, count).sort(1).values.tolist()
    assert (weights[rows] > 0).all() and not torch.equal(rows, made("mosaic")(real, count, 3, guide(real)))
    ranks = difficulty.rank[rows]
    assert not torch.equal(ranks, ranks.sort(1).values), "a prefix is no easier than the whole"
    assert any(not torch.equal(a.argsort(), ranks[0].argsort()) for a in ranks[1:]), "each class in an order of its own"


def test_a_mosaic_needs_the_snapshots_of_its_score_where_it_goes_by_one():
    forgetting = {"name": "forgetting"}
    assert made("mosaic", score=forgetting).snapshots_needed == 1
    assert made("mosaic", score=forgetting, window={"name": "hard_filter"}).snapshots_needed > 1
