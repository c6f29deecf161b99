"""How many labels of every class are wrong, by hand; which, and as what; and that they can be found afterwards."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dasm.data.digits import Digits
from dasm.data.noisy import Noisy
from dasm.errors import ConfigError
from dasm.images.prepare import write_source
from dasm.images.store import read_split
from dasm.images.truth import TRUTH, read_truth
from tests.data.wrapping import Given, sizes, wrong


def noisy(counts, share, seed=0):
    return Noisy(of=Given(sizes=tuple(counts)), share=share).open(seed)


def wrong_of(source):
    """Wrong labels among the training images of every true class."""
    return np.bincount(source.truth[wrong(source)], minlength=len(source.class_names)).tolist()


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([10, 10], 0.2, [2, 2]),
        ([10, 7, 1], 0.25, [2, 2, 0]),
        ([10, 30, 5], 0.5, [5, 15, 2]),
        ([8, 9], 0.0, [0, 0]),
        ([10, 10, 10], 0.99, [10, 10, 10]),
    ],
)
def test_so_many_labels_of_every_class_are_wrong(counts, share, expected):
    source = noisy(counts, share)
    assert wrong_of(source) == expected
    assert sum(sizes(source)) == sum(counts)
    assert set(wrong(source)) <= set(source.splits["train"])


some_sizes = st.lists(st.integers(1, 40), min_size=2, max_size=6)


@given(some_sizes, st.floats(0, 0.7), st.floats(0, 0.7), st.integers(0, 99))
def test_a_larger_share_labels_the_same_images_likewise_and_more(counts, one, other, seed):
    counts = [count + 3 for count in counts]  # so that no class is ever left without an image
    low, high = sorted((one, other))
    few, many = (noisy(counts, share, seed) for share in (low, high))
    assert set(wrong(few)) <= set(wrong(many))
    assert (few.labels[wrong(few)] == many.labels[wrong(few)]).all()
    assert (few.truth == Given(sizes=tuple(counts)).open(seed).labels).all()
    assert wrong_of(many) == [round(high * count) for count in counts]


def test_every_other_class_is_as_likely_and_every_image_too():
    source = noisy([3000] * 4, 0.5)
    for label in range(4):
        mine = np.array([i for i in wrong(source) if source.truth[i] == label])
        told = np.bincount(source.labels[mine], minlength=4)
        assert told[label] == 0
        # A third of 1,500 each, and half of them in the first half of the class, give or take four deviations.
        assert (abs(np.delete(told, label) - 500) < 4 * (1500 * 2 / 9) ** 0.5).all()
        assert abs((mine < 3000 * label + 1500).sum() - 750) < 4 * (3000 / 16) ** 0.5


def test_every_class_is_drawn_by_itself():
    places = [{i % 40 for i in wrong(noisy([40] * 3, 0.5)) if i // 40 == label} for label in range(3)]
    assert [len(place) for place in places] == [20] * 3
    assert len({frozenset(place) for place in places}) == 3


def test_noise_upon_noise_is_another_draw_and_remembers_the_first_labels():
    """Nine classes of ten: of 0.5 right labels half stay, of 0.5 wrong ones one in 18 comes home."""
    once = noisy([400] * 10, 0.5)
    twice = Noisy(of=Noisy(of=Given(sizes=(400,) * 10), share=0.5), share=0.5).open(0)
    assert (twice.truth == once.truth).all()
    right = 1 - len(wrong(twice)) / 4000
    assert right == pytest.approx(0.25 + 0.5 * 0.5 / 9, abs=0.03)
    # Of the images that the second draw left alone, half were wrong before it, as of all.
    alone = np.flatnonzero(twice.labels[:4000] == once.labels[:4000])
    assert np.isin(alone, wrong(once)).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0, float("nan")])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ConfigError, match=rf"^share must be in \[0, 1\), got {share}$"):
        Noisy(of=Given(sizes=(2, 2)), share=share)


def test_a_class_that_noise_leaves_without_an_image_is_refused():
    """Its one image goes to the other class, and half of two come from nowhere else."""
    seeds = [seed for seed in range(20) if _left(seed)]
    assert 0 < len(seeds) < 20


def _left(seed):
    try:
        noisy([1, 4, 4], 0.6, seed)
    except ConfigError as error:
        assert str(error) == "given: must have training images of every class, got none of 'c0'"
        return False
    return True


def test_the_labels_before_lie_beside_the_data_set(tmp_path):
    source = Noisy(of=Digits(), share=0.3).open(0)
    write_source(tmp_path / "real", source)
    train, truth = read_split(tmp_path / "real", "train"), read_truth(tmp_path / "real")
    assert (truth == Digits().load(0).train.labels.numpy()).all()
    found = np.flatnonzero(train.labels.numpy() != truth)
    assert source.splits["train"][found].tolist() == wrong(source)
    assert len(found) == sum(round(0.3 * int((truth == label).sum())) for label in range(10))


def test_a_set_whose_labels_nobody_changed_has_nothing_beside_it(tmp_path):
    """Nor does one that takes the place of a noisy one."""
    write_source(tmp_path / "real", noisy([5, 5], 0.2))
    assert read_truth(tmp_path / "real") is not None
    write_source(tmp_path / "real", Given(sizes=(5, 5)).open(0))
    assert not (tmp_path / "real" / TRUTH).exists() and read_truth(tmp_path / "real") is None


@pytest.mark.parametrize("content", [b"", b"just text"])
def test_damage_is_named(tmp_path, content):
    (tmp_path / TRUTH).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^{tmp_path}/{TRUTH}: must be an array of class indices \("):
        read_truth(tmp_path)
