"""Pictures and drawings small enough for a page that holds hundreds."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.reporting import sparks
from pipeline.reporting.strips import evenly, strip


def noise(count, *shape):
    return [*np.random.default_rng(0).integers(0, 256, (count, *shape)).astype(np.uint8)]


def opened(made):
    return Image.open(io.BytesIO(base64.b64decode(made.uri.split(",")[1])))


@pytest.mark.parametrize("shape", [(8, 8, 1), (16, 16, 3), (28, 28, 1), (32, 32, 1)])
def test_small_images_keep_every_pixel_and_are_parted_by_nothing(shape):
    images = noise(3, *shape)
    made = strip(images)
    assert made.uri.startswith("data:image/png;base64,")
    side = shape[1]
    assert (made.count, made.width, made.height, made.opaque) == (3, 3 * side + 2, shape[0], False)
    pixels = np.array(opened(made).convert("RGBA"))
    for i, image in enumerate(images):
        np.testing.assert_array_equal(
            pixels[:, i * (side + 1) : i * (side + 1) + side, :3], image.repeat(3 // shape[2], 2)
        )
    assert (pixels[:, side, 3] == 0).all()


def test_larger_images_become_jpeg_of_full_colour():
    rng = np.random.default_rng(0)
    smooth = np.linspace(60, 190, 32)[:, None, None] + np.zeros((32, 32, 3))
    # Columns of alternating colour and equal brightness, as the noise of distilled images; halved colour greys them.
    smooth += np.where(np.arange(32) % 2, 1, -1)[None, :, None] * np.array([45, -22, -5])
    images = [(smooth + rng.normal(0, 3, smooth.shape)).clip(0, 255).astype(np.uint8) for _ in range(4)]
    made = strip(images)
    assert made.uri.startswith("data:image/jpeg;base64,")
    assert (made.side, made.width, made.height, made.opaque) == (32, 4 * 33 - 1, 32, True)
    pixels = np.array(opened(made)).astype(float)
    for i, image in enumerate(images):
        error = pixels[:, i * 33 : i * 33 + 32] - image
        assert 10 * np.log10(255**2 / np.mean(error**2)) > 33, "decibels"
    # What parts two images is the edge of the left one, which does not ring into either.
    assert np.abs(pixels[:, 32] - images[0][:, 31]).mean() < 12


def test_larger_images_take_less_than_two_thirds_of_png():
    made = strip([tile.cumsum(1).astype(np.uint8) for tile in noise(6, 32, 32, 3)])
    opened(made).save(exact := io.BytesIO(), format="PNG", optimize=True)
    assert len(made.uri) * 3 / 4 < len(exact.getvalue()) * 2 / 3


def test_large_images_are_shrunk():
    made = strip(noise(2, 224, 160, 3))
    assert made.height == 96
    assert made.side == round(160 * 96 / 224)
    assert made.width == 2 * made.side + 1


def test_same_images_same_bytes_and_none_is_nothing():
    assert strip(noise(2, 32, 32, 3)) == strip(noise(2, 32, 32, 3))
    assert strip([]).count == 0
    assert strip([]).uri == ""


def test_evenly_holds_both_ends():
    assert evenly(10, 4).tolist() == [0, 3, 6, 9]
    assert evenly(3, 6).tolist() == [0, 1, 2]
    assert evenly(0, 6).tolist() == []


def test_a_window_is_drawn_over_the_ranks():
    rank = np.arange(200)[::-1] / 200
    weight = np.where((rank >= 0.25) & (rank < 0.5), 2.0, 0.0) + np.where(rank >= 0.95, 1.0, 0.0)
    path = sparks.window(pd.DataFrame({"rank": rank, "weight": weight}))
    tops = [float(top) for top in re.findall(r"V([\d.]+)h5", path)]
    assert tops == [10] * 5 + [0] * 5 + [10] * 9 + [5], "five of twenty bars at full height, the hardest at half"


def test_a_window_that_holds_nothing_is_flat():
    path = sparks.window(pd.DataFrame({"rank": [0.1, 0.9], "weight": [0.0, 0.0]}))
    assert set(re.findall(r"V([\d.]+)", path)) == {"10"}


def test_curves_share_a_scale():
    paths = sparks.curves({"long": np.linspace(50, 10, 100), "short": [30.0] * 50})
    points = {
        name: [tuple(map(float, at)) for at in re.findall(r"([\d.]+) ([\d.]+)", path)] for name, path in paths.items()
    }
    assert len(points["long"]) == 40
    assert points["long"][0][1] == 0
    assert points["long"][-1] == (100, 30)
    assert points["short"][-1] == pytest.approx((50, 15), abs=0.3)
