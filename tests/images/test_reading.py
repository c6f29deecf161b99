import io

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

from dasm.errors import ConfigError
from dasm.images.reading import ImageReader, read_bytes
from tests.pictures import encode, grey, noise, png_that_claims

COLOURS = noise(3, 5, 3)


def decode(data, **options):
    return ImageReader(**options).read(("x.png:", data))


def refusal(data, **options):
    with pytest.raises(ConfigError) as caught:
        decode(data, **options)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("x.png: must ")
    return message


@pytest.mark.parametrize("form", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_colour_images_keep_every_pixel(form):
    assert (decode(encode(COLOURS, form)) == COLOURS.transpose(2, 0, 1)).all()


def test_other_formats_are_read_as_pillow_reads_them():
    for form, options in (("JPEG", {}), ("WEBP", {"lossless": True}), ("GIF", {})):
        data = encode(COLOURS, form, **options)
        assert decode(data).shape == (3, 3, 5)
    assert (decode(encode(COLOURS, "WEBP", lossless=True)) == COLOURS.transpose(2, 0, 1)).all()


@pytest.mark.parametrize("mode", ["P", "RGBA", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    data = encode(COLOURS, "TIFF" if mode == "CMYK" else "PNG", mode)
    expected = np.asarray(Image.fromarray(COLOURS).convert(mode).convert("RGB")).transpose(2, 0, 1)
    assert (decode(data) == expected).all()


def test_grey_becomes_rgb_and_rgb_grey_by_luma():
    assert decode(encode(grey(9))).tolist() == np.full((3, 4, 4), 9).tolist()
    primaries = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [77, 77, 77]]], dtype=np.uint8)
    assert decode(encode(primaries), color="grey").tolist() == [[[76, 150, 29, 77]]]


def test_black_and_white_is_0_and_255():
    assert decode(encode(Image.fromarray(np.eye(2) > 0)), color="grey").tolist() == [[[255, 0], [0, 255]]]


def test_what_is_transparent_is_laid_on_white():
    rgba = np.array([[[10, 20, 30, 255], [10, 20, 30, 0], [0, 100, 255, 51]]], dtype=np.uint8)
    # A fifth of the colour and four fifths of white.
    assert decode(encode(rgba)).transpose(1, 2, 0).tolist() == [[[10, 20, 30], [255] * 3, [204, 224, 255]]]
    grey_alpha = np.array([[[10, 255], [10, 0]]], dtype=np.uint8)
    assert decode(encode(Image.fromarray(grey_alpha, "LA")), color="grey").tolist() == [[[10, 255]]]


@pytest.mark.parametrize("mode", ["PA", "LA"])
def test_what_is_transparent_in_a_tiff_is_laid_on_white(mode):
    """A palette with an alpha channel beside it, and grey."""
    rgba = Image.fromarray(np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], dtype=np.uint8))
    image = rgba.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE) if mode == "PA" else rgba.convert(mode)
    if mode == "PA":
        image.putalpha(rgba.getchannel("A"))
    data = encode(image, "TIFF")
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == mode
    pixels = decode(data).transpose(1, 2, 0).tolist()
    assert pixels == [[[18] * 3 if mode == "LA" else [10, 20, 30], [255] * 3]]


def test_a_transparent_palette_entry_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([1, 2, 3, 4, 5, 6])
    image.putpixel((1, 0), 1)
    data = encode(image, transparency=1)
    assert decode(data).transpose(1, 2, 0).tolist() == [[[1, 2, 3], [255, 255, 255]]]


SIXTEEN = np.array([[0, 128, 129, 257, 65406, 65407, 65535]], dtype=np.uint16)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_scale(form):
    # 257 levels each, rounded; Pillow's own conversion would make 255 of all from 257 on.
    data = encode(Image.fromarray(SIXTEEN), form)
    assert decode(data, color="grey").tolist() == [[[0, 0, 1, 1, 254, 255, 255]]]
    assert decode(data, color="rgb")[2].tolist() == [[0, 0, 1, 1, 254, 255, 255]]


def test_a_transparent_16_bit_level_is_white():
    data = encode(Image.fromarray(SIXTEEN), transparency=257)
    assert decode(data, color="grey").tolist() == [[[0, 0, 1, 255, 254, 255, 255]]]


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (np.array([[0, 65536]], dtype=np.int32), "grey levels from 0 to 65536, more than 16 bits"),
        (np.array([[-1, 5]], dtype=np.int32), "grey levels from -1 to 5, more than 16 bits"),
        (np.array([[0.5]], dtype=np.float32), "32-bit floating point pixels have no white"),
    ],
)
def test_levels_without_a_scale_are_refused(pixels, reason):
    assert refusal(encode(pixels, "TIFF")) == f"x.png: must be a readable image ({reason})"


def oriented(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encode(COLOURS, form, exif=exif)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(form, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = Image.fromarray(COLOURS)
    lying.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(lying)).transpose(2, 0, 1)
    assert (decode(oriented(form, orientation)) == expected).all()


def test_a_photo_taken_with_the_camera_turned_right_is_turned_right():
    # Orientation 6: the first row of the file is the right-hand side of the picture, from top to bottom.
    assert (COLOURS[0] == decode(oriented("PNG", 6))[:, :, -1].T).all()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\x00\x00garbage", b"Exif\x00\x00", b"Exif\x00\x00MM\x00*\x00\x00\xff\xff"])
def test_a_damaged_exif_block_does_no_harm(exif):
    for form in ("JPEG", "PNG", "WEBP"):
        plain = decode(encode(COLOURS, form))
        assert (decode(encode(COLOURS, form, exif=exif)) == plain).all(), form


def test_only_the_first_frame_of_an_animation_is_read():
    data = encode(Image.fromarray(grey(50)), "GIF", save_all=True, append_images=[Image.fromarray(grey(200))])
    assert (decode(data, color="grey") == 50).all()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.sampled_from(["rgb", "grey"]))
@example(33, 50, 32, "rgb")
@example(5, 8, 5, "rgb")
def test_size_is_the_rule_of_torchvision_pixel_for_pixel(height, width, size, color):
    pixels = noise(height, width, 3, seed=height * 71 + width)
    image = Image.fromarray(pixels).convert("RGB" if color == "rgb" else "L")
    reference = np.asarray(Compose([Resize(size), CenterCrop(size)])(image))
    found = decode(encode(pixels), size=size, color=color)
    assert found.shape == (3 if color == "rgb" else 1, size, size)
    assert (found == (reference[None] if color == "grey" else reference.transpose(2, 0, 1))).all()


def test_an_image_of_the_size_stays_as_it_is():
    pixels = noise(6, 6, 3)
    assert (decode(encode(pixels), size=6) == pixels.transpose(2, 0, 1)).all()


def test_a_turned_image_is_cut_after_it_is_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(3, 4, 3)
    upright = Image.fromarray(pixels).transpose(Image.Transpose.ROTATE_270)
    expected = np.asarray(CenterCrop(3)(upright)).transpose(2, 0, 1)
    assert (decode(encode(pixels, exif=exif), size=3) == expected).all()


@pytest.mark.parametrize("cut", [1, 100, 300, 500])
def test_a_truncated_jpeg_is_refused(cut):
    data = encode(noise(40, 40, 3), "JPEG")
    assert "must be a readable image (" in refusal(data[:-cut])


def test_zero_bytes_text_and_other_formats_are_refused():
    rule = "x.png: must be a readable image"
    known = "none of BMP, GIF, JPEG, PNG, PPM, TIFF, WEBP"
    assert refusal(b"") == f"{rule} (0 bytes)"
    assert refusal(b"a text that somebody renamed") == f"{rule} ({known})"
    assert refusal(encode(COLOURS, "EPS")) == f"{rule} ({known})"


def test_nothing_instead_of_bytes_is_refused():
    assert refusal(None) == "x.png: must hold the bytes of an image, got none"


def test_a_decompression_bomb_is_refused_from_its_header():
    rule = "x.png: must have at most 89478485 pixels (a decompression bomb)"
    assert refusal(png_that_claims(20_000, 20_000)) == rule
    assert refusal(png_that_claims(10_000, 10_000)) == rule


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_the_limit_does_not_depend_on_how_warnings_are_treated():
    assert refusal(png_that_claims(10_000, 10_000)).endswith("(10000 x 10000 pixels, more than 89478485)")


def test_an_image_that_would_grow_beyond_the_limit_is_refused():
    message = refusal(encode(grey(0, height=1, width=2000)), size=224)
    assert message.endswith("(448000 x 224 pixels after resizing, more than 89478485)")


SAMPLES = [
    encode(noise(9, 7, 3), "JPEG"),
    encode(noise(9, 7, 3), "PNG"),
    encode(noise(9, 7, 4), "PNG"),
    encode(noise(9, 7, 3), "GIF"),
    encode(noise(9, 7, 3), "BMP"),
    encode(noise(9, 7, 3), "TIFF", compression="tiff_lzw"),
    encode(noise(9, 7, 3), "WEBP"),
    encode(noise(9, 7, 3), "PPM"),
]


@pytest.mark.filterwarnings("ignore")
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 999), st.integers(1, 255)), max_size=5), st.data())
def test_damaged_bytes_are_read_over_or_refused_in_one_line(sample, changes, data):
    damaged = bytearray(sample[: data.draw(st.integers(0, len(sample)))])
    for at, change in changes:
        if damaged:
            damaged[at % len(damaged)] ^= change
    try:
        assert decode(bytes(damaged), size=4).shape == (3, 4, 4)
    except ConfigError as error:
        assert str(error).startswith("x.png: must ") and "\n" not in str(error)


def test_a_block_holds_its_images_in_order():
    encoded = [(f"{level}:", encode(grey(level))) for level in (5, 3, 9)]
    assert ImageReader(color="grey").block(encoded, (1, 4, 4), 3)[:, 0, 0, 0].tolist() == [5, 3, 9]


def test_an_image_of_another_size_is_refused_with_both():
    reader = ImageReader(color="grey")
    encoded = [("a:", encode(grey(1, 4, 6))), ("b:", encode(grey(2, 6, 4)))]
    assert reader.shape(encoded) == (1, 4, 6)
    with pytest.raises(ConfigError) as caught:
        reader.block(encoded, (1, 4, 6), 2)
    assert str(caught.value) == (
        "b: must be 6 x 4 pixels like the first image, got 4 x 6 (with `size`, images are resized and cut to one)"
    )


def test_with_a_size_no_image_is_read_for_the_shape():
    def never():
        raise AssertionError
        yield

    assert ImageReader(size=7).shape(never()) == (3, 7, 7)
    assert ImageReader(size=7, color="grey").shape(never()) == (1, 7, 7)


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = str(tmp_path / "x.png")
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable image \(No such file or directory\)$"):
        read_bytes(path)

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(ConfigError, match=rf"^{path}: must be a readable image \(Permission denied\)$"):
        read_bytes(path)


@pytest.mark.parametrize("size", [0, -3])
def test_an_empty_square_is_refused(size):
    with pytest.raises(ConfigError, match=rf"^size must be in \[1, 1e4\], got {size}$"):
        ImageReader(size=size)
