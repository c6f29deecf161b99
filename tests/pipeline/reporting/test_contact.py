"""The picture of a set's images: every pixel of it, and what it says of its segments."""

import numpy as np
import pytest
import torch

from dasm.tables import write_segment
from pipeline.reporting.contact import contact_sheet, tiled
from pipeline.reporting.gallery import Most
from tests.handmade import stored_images

NAMES = ("cat", "dog", "emu")


def test_images_stand_under_each_other_with_a_white_pixel_between_them():
    rows = [[np.full((2, 3, 1), 10 * i + j, np.uint8) for j in range(2)] for i in range(2)]
    assert tiled(rows)[:, :, 0].tolist() == [
        [0, 0, 0, 255, 1, 1, 1],
        [0, 0, 0, 255, 1, 1, 1],
        [255] * 7,
        [10, 10, 10, 255, 11, 11, 11],
        [10, 10, 10, 255, 11, 11, 11],
    ]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_panel_per_segment_a_row_per_class_and_no_more_images_than_asked_for(tmp_path, channels):
    parts = [
        stored_images(0, ipc=2, channels=channels, classes=3),
        stored_images(1, ipc=4, channels=channels, classes=3),
    ]
    for number, part in enumerate(parts):
        write_segment(tmp_path / f"s{number}.parquet", part, NAMES, {})
    (ax,) = contact_sheet(tmp_path, NAMES, Most(classes=2, images=3)).axes
    # Images of 5 x 6 pixels; two of a class, a gap, three of a class.
    height, width = 2 * 6 - 1, (2 * 7 - 1) + 6 + (3 * 7 - 1)
    pixels = torch.tensor(np.array(ax.images[0].get_array())).reshape(height, width, channels)
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "emu"]
    assert [text.get_text().split()[0] for text in ax.texts] == ["segment", "ranks"] * 2
    last = parts[1].images[parts[1].labels == 2][3].movedim(0, 2)
    assert torch.equal(pixels[-5:, -6:], last)
