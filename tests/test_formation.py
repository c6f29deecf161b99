import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from dasm.errors import ConfigError
from dasm.formation import decode, decode_set, decoded_count, mosaic
from dasm.types import LabelledImages

factors = st.integers(1, 3)
small = st.integers(1, 3)


def pictures(n, c, h, w):
    return torch.rand(n, c, h, w, generator=torch.Generator().manual_seed(n + 10 * h + 100 * w))


def enlarged(tile, height, width):
    return F.interpolate(tile, size=(height, width), mode="bilinear", align_corners=False)


@given(factors, small, st.sampled_from([1, 3]), small, small)
def test_a_mosaic_decodes_to_its_shrunk_images_in_their_order(f, m, c, cell_height, cell_width):
    height, width = f * cell_height, f * cell_width
    images = pictures(m * f * f, c, height, width)
    stored = mosaic(images, f)
    assert stored.shape == (m, c, height, width)
    shrunk = images[:, :, ::f, ::f]
    torch.testing.assert_close(decode(stored, f), enlarged(shrunk, height, width), rtol=0, atol=1e-6)


def test_tiles_lie_row_by_row():
    images = torch.arange(8.0)[:, None, None, None].expand(-1, 1, 4, 4) / 8
    first, second = (mosaic(images, 2) * 8)[:, 0, ::2, ::2].tolist()
    # Image t * m + i is tile t of stored image i; here m = 2.
    assert first == [[0, 2], [4, 6]]
    assert second == [[1, 3], [5, 7]]


def test_decoding_cuts_row_by_row_tile_by_tile():
    stored = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]], [[[4.0, 5.0], [6.0, 7.0]]]]) / 8
    decoded = decode(stored, 2) * 8
    assert decoded[:, 0, 0, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7]
    assert (decoded == decoded[:, :, :1, :1]).all()


@given(factors, small, st.integers(3, 9), st.integers(3, 9))
def test_a_stored_image_decodes_to_f_times_f_images_of_its_own_size(f, m, height, width):
    decoded = decode(pictures(m, 1, height, width), f)
    assert decoded.shape == (m * f * f, 1, height, width)
    assert decoded_count(m, f) == m * f * f


@given(factors, small, st.integers(3, 9), st.data())
def test_decoding_a_choice_is_decoding_all_and_choosing(f, m, side, data):
    stored = pictures(m, 1, side, side)
    chosen = torch.tensor(data.draw(st.lists(st.integers(0, m * f * f - 1), min_size=1, max_size=6)))
    assert torch.equal(decode(stored, f, chosen), decode(stored, f)[chosen])


def test_sides_that_do_not_divide_are_padded_with_grey_at_the_right_and_bottom():
    stored = pictures(1, 1, 5, 5)
    grey_column, grey_row = torch.full((1, 1, 3, 1), 0.5), torch.full((1, 1, 1, 3), 0.5)
    top_right = torch.cat([stored[:, :, :3, 3:], grey_column], dim=3)
    bottom_left = torch.cat([stored[:, :, 3:, :3], grey_row], dim=2)
    corner = torch.cat([torch.cat([stored[:, :, 3:, 3:], grey_column[:, :, :2]], dim=3), grey_row], dim=2)
    tiles = torch.cat([stored[:, :, :3, :3], top_right, bottom_left, corner])
    torch.testing.assert_close(decode(stored, 2), enlarged(tiles, 5, 5))


@given(st.sampled_from([(5, 2), (7, 2), (5, 3), (8, 3), (28, 3)]))
def test_a_mosaic_that_does_not_divide_is_cut_where_decoding_cuts(case):
    side, f = case
    levels = torch.arange(f * f, dtype=torch.float32) / 10
    stored = mosaic(levels[:, None, None, None].expand(-1, 1, side, side), f)
    assert stored.shape == (1, 1, side, side)
    assert decode(stored, f)[:, 0, 0, 0].tolist() == pytest.approx(levels.tolist(), abs=1e-6)


@given(factors, st.floats(0, 1, width=32), st.integers(1, 4))
def test_constant_images_stay_constant(f, level, cell):
    stored = torch.full((2, 1, f * cell, f * cell), level)
    torch.testing.assert_close(decode(stored, f), stored[:1].expand(2 * f * f, -1, -1, -1), rtol=0, atol=1e-6)


@given(factors, small)
def test_a_mosaic_shows_no_new_grey_level(f, m):
    images = pictures(m * f * f, 1, 7, 7)
    assert set(mosaic(images, f).flatten().tolist()) <= set(images.flatten().tolist())


def test_factor_1_leaves_images_alone():
    images = pictures(3, 1, 4, 4)
    assert torch.equal(decode(images, 1), images)
    copy = mosaic(images, 1)
    assert torch.equal(copy, images) and copy.data_ptr() != images.data_ptr()


def test_the_gradient_reaches_the_chosen_tile_alone():
    stored = pictures(2, 1, 4, 4).requires_grad_()
    decode(stored, 2, torch.tensor([5])).sum().backward()
    # Number 5 = 2 * 2 + 1: tile 2 (bottom left) of stored image 1; each of its 4 pixels feeds a quarter of 16.
    expected = torch.zeros(2, 1, 4, 4)
    expected[1, :, 2:, :2] = 4
    torch.testing.assert_close(stored.grad, expected)


@given(factors, st.lists(st.integers(0, 2), min_size=1, max_size=5))
def test_a_decoded_set_keeps_the_class_of_every_tile(f, labels):
    levels = torch.tensor(labels, dtype=torch.float32) / 4
    data = LabelledImages(
        images=levels[:, None, None, None].expand(-1, 1, 6, 6).contiguous(),
        labels=torch.tensor(labels),
        class_names=("a", "b", "c"),
        mean=torch.zeros(1),
        std=torch.ones(1),
    )
    decoded = decode_set(data, f)
    assert len(decoded) == decoded_count(len(labels), f)
    assert (decoded.images[:, 0, 0, 0] * 4).round().long().tolist() == decoded.labels.tolist()


def test_a_factor_below_1_is_refused():
    for refused in (lambda: decode(pictures(1, 1, 4, 4), 0), lambda: mosaic(pictures(4, 1, 4, 4), 0)):
        with pytest.raises(ConfigError, match=r"^factor must be >= 1, got 0$"):
            refused()


def test_too_few_images_for_a_mosaic_are_refused():
    with pytest.raises(ConfigError, match=r"^images must be a multiple of 4, got 6$"):
        mosaic(pictures(6, 1, 4, 4), 2)


def test_images_too_small_for_their_tiles_are_refused():
    with pytest.raises(ConfigError, match=r"leave room for 4 x 4 tiles, got \(5, 5\)$"):
        mosaic(pictures(16, 1, 5, 5), 4)
