"""Coverage against what chance gives, and by hand."""

import math

import pytest
import torch

from dasm.coverage import Coverage, distances, neighbours

CHANCE = 1 - 1 / math.e


def covered(real, images):
    return Coverage(real).of(distances(real, images))


def uniform(count, seed):
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("images", [1, 2, 7, 40, 90, 140, 190, 350])
@pytest.mark.parametrize("picked", [False, True])
def test_random_images_cover_63_percent_at_any_number(images, picked):
    """Thirty classes of 200: fresh images, and images of the class itself as far as there are."""
    shares = []
    for seed in range(30):
        real = uniform(200, seed)
        set_ = real[:images] if picked and images < 200 else uniform(images, 1000 + seed)
        shares.append(float(covered(real, set_).nanmean()))
    spread = float(torch.tensor(shares).std()) / 30**0.5
    assert sum(shares) / 30 == pytest.approx(CHANCE, abs=4 * spread) and spread < 0.06


@pytest.mark.parametrize("images", [1, 3, 50, 171])
def test_the_share_of_the_further_neighbour_makes_up_for_what_the_nearer_one_lacks(images):
    def misses(nearest):
        return math.prod((99 - i) / (99 + images - i) for i in range(nearest))

    fewer, share = neighbours(100, images)
    assert 0 <= fewer <= 98 and 0 <= share <= 1
    assert share * misses(fewer + 1) + (1 - share) * misses(fewer) == pytest.approx(1 / math.e)


def test_of_two_real_images_the_other_is_the_only_neighbour():
    """One image misses it half the time, whatever the share."""
    assert neighbours(2, 1) == (0, 1.0)


def test_a_real_image_that_the_set_holds_is_left_out_and_no_neighbour():
    """With the second image gone, the nearest of the first is the third."""
    real = torch.tensor([[0.0], [0.1], [0.4], [0.6], [1.0]])
    found = covered(real, torch.tensor([[0.1], [0.45]]))
    # Four are left, two images: k = 1 and 2, which miss with probability 3/5 and 3/5 * 2/4.
    fewer, share = neighbours(4, 2)
    assert (fewer, share) == (1, pytest.approx((3 / 5 - 1 / math.e) / (3 / 10)))
    # Radii of one and two neighbours: 0.4, 0.6 of the first; 0.2, 0.4 of 0.4 and 0.6; 0.4, 0.6 of the last.
    assert found.tolist() == pytest.approx([1, math.nan, 1, 1, share], nan_ok=True)


def test_a_set_of_all_real_images_leaves_none_to_be_covered():
    assert covered(uniform(9, 0), uniform(9, 0)).isnan().all()


def test_one_real_image_is_covered_by_any_other():
    assert covered(torch.zeros(1, 3), torch.ones(2, 3)).tolist() == [1]


def test_of_a_large_set_evenly_spaced_images_are_looked_at():
    """Two real images, sixteen of the set: one is looked at, the first."""
    real, near, far = torch.tensor([[0.0], [1.0]]), [[0.01]], [[9.0]]
    assert covered(real, torch.tensor(near + far * 15)).tolist() == [1, 1]
    assert covered(real, torch.tensor(far + near * 15)).tolist() == [0, 0]
