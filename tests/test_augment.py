import math
from collections import Counter
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dasm.augment import Transform, _sample, draw
from dasm.errors import ConfigError

ALL = ("flip", "color", "crop", "scale", "rotate", "cutout")
PARAMETERS = ("flip", "color", "shift", "scale", "angle", "hole")


def drawn(operations, n, shape, seed=0):
    return draw(operations, n, shape, torch.Generator().manual_seed(seed))


def pictures(n, c=3, h=8, w=8, seed=0, dtype=torch.float32):
    return torch.randn(n, c, h, w, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def still(operations, n=1):
    """A draw that changes nothing but for the parameters that a test replaces; its hole lies in the corner."""
    return Transform(
        operations=operations,
        flip=torch.zeros(n, dtype=torch.bool),
        color=torch.full((n, 3), 0.5),
        choice=torch.zeros(n, dtype=torch.long),
        shift=torch.zeros(n, 2, dtype=torch.long),
        scale=torch.ones(n, 2),
        angle=torch.zeros(n),
        hole=torch.zeros(n, 2, dtype=torch.long),
    )


def part(transform, index):
    names = [f.name for f in fields(transform) if f.name != "operations"]
    return replace(transform, **{name: getattr(transform, name)[index : index + 1] for name in names})


def test_the_same_draw_is_the_same_function_on_both_sides():
    transform, real, synthetic = drawn(ALL, 1, (3, 8, 8)), pictures(5), pictures(2, seed=1)
    both = transform.repeat(7)(torch.cat([real, synthetic]))
    torch.testing.assert_close(transform.repeat(5)(real), both[:5])
    torch.testing.assert_close(transform.repeat(2)(synthetic), both[5:])


def test_repeating_a_draw_repeats_every_parameter():
    transform = drawn(ALL, 1, (3, 8, 8))
    for f in fields(transform):
        if f.name != "operations":
            value, repeated = getattr(transform, f.name), getattr(transform.repeat(3), f.name)
            assert torch.equal(repeated, torch.cat([value] * 3))


@given(st.integers(0, 10), st.integers(0, 3))
def test_an_image_is_transformed_the_same_alone_and_in_company(seed, index):
    transform, images = drawn(ALL, 4, (3, 8, 6), seed), pictures(4, w=6)
    alone = part(transform, index)(images[index : index + 1])
    torch.testing.assert_close(transform(images)[index : index + 1], alone)


def test_nothing_in_use_leaves_images_alone():
    images = pictures(3)
    assert torch.equal(drawn((), 3, (3, 8, 8))(images), images)


@given(st.integers(4, 40), st.integers(4, 40), st.integers(0, 1000))
def test_parameters_lie_in_the_ranges_of_dsa(height, width, seed):
    transform = drawn(ALL, 50, (3, height, width), seed)
    for axis, side in enumerate((height, width)):
        assert transform.shift[:, axis].abs().max() <= int(side / 8 + 0.5)
        last = side - int(side / 2 + 0.5) % 2
        assert transform.hole[:, axis].min() >= 0 and transform.hole[:, axis].max() <= last
    assert transform.color.min() >= 0 and transform.color.max() < 1
    assert transform.scale.min() >= 1 / 1.2 - 1e-6 and transform.scale.max() <= 1.2 + 1e-6
    assert transform.angle.abs().max() <= math.radians(15) + 1e-6
    assert transform.choice.min() >= 0 and transform.choice.max() <= 2


def test_parameters_fill_their_ranges():
    transform = drawn(ALL, 2000, (3, 32, 32))
    assert set(transform.shift.flatten().tolist()) == set(range(-4, 5))
    assert set(transform.hole.flatten().tolist()) == set(range(33))
    assert set(transform.choice.tolist()) == {0, 1, 2}
    assert transform.flip.float().mean() == pytest.approx(0.5, abs=0.05)
    assert transform.color.mean(0).tolist() == pytest.approx([0.5] * 3, abs=0.03)
    for values, low, high in [
        (transform.color, 0, 1),
        (transform.scale, 1 / 1.2, 1.2),
        (transform.angle, -math.radians(15), math.radians(15)),
    ]:
        margin = 0.02 * (high - low)
        assert values.min() < low + margin and values.max() > high - margin
    # Rows and columns, and the three colours, have draws of their own.
    assert not torch.equal(transform.shift[:, 0], transform.shift[:, 1])
    assert not torch.equal(transform.hole[:, 0], transform.hole[:, 1])
    assert not torch.equal(transform.scale[:, 0], transform.scale[:, 1])


@given(st.sets(st.sampled_from(ALL)), st.integers(0, 100))
def test_leaving_operations_out_changes_no_other_parameter(kept, seed):
    full = drawn(ALL, 6, (3, 8, 8), seed)
    fewer = drawn(tuple(name for name in ALL if name in kept), 6, (3, 8, 8), seed)
    for name in PARAMETERS:
        assert torch.equal(getattr(full, name), getattr(fewer, name))


def test_one_applies_a_single_operation_with_the_parameters_of_a_plain_draw():
    """DSA: one strategy per call, the same for all images of the call."""
    images, seen = pictures(3), Counter()
    for seed in range(120):
        picked, full = drawn(("one", *ALL), 3, (3, 8, 8), seed), drawn(ALL, 3, (3, 8, 8), seed)
        (name,) = picked.operations
        assert torch.equal(picked(images), replace(full, operations=(name,))(images))
        seen[name] += 1
    assert set(seen) == set(ALL) and max(seen.values()) < 40, "each about equally often"


def test_one_picks_among_the_operations_that_are_given():
    assert {drawn(("crop", "one", "color"), 2, (3, 8, 8), s).operations for s in range(20)} == {("crop",), ("color",)}
    with pytest.raises(ConfigError, match="one must have others to pick from"):
        drawn(("one",), 2, (3, 8, 8))


def test_flip_mirrors_left_to_right_where_drawn():
    images = pictures(2)
    transform = replace(still(("flip",), 2), flip=torch.tensor([True, False]))
    expected = torch.stack([torch.from_numpy(images[0].numpy()[:, :, ::-1].copy()), images[1]])
    assert torch.equal(transform(images), expected)


@given(st.tuples(*[st.floats(0, 0.99)] * 3), st.sampled_from([1, 3]))
def test_color_is_brightness_then_saturation_then_contrast(values, channels):
    brightness, saturation, contrast = values
    image = pictures(1, channels, 3, 4, dtype=torch.float64)
    expected = image + (brightness - 0.5)
    grey = sum(expected[:, c] for c in range(channels)) / channels
    expected = torch.stack([(expected[:, c] - grey) * 2 * saturation + grey for c in range(channels)], dim=1)
    mean = expected.sum() / expected.numel()
    expected = (expected - mean) * (contrast + 0.5) + mean
    transform = replace(still(("color",)), color=torch.tensor([values], dtype=torch.float64))
    torch.testing.assert_close(transform(image), expected)


def shifted(image, down, right):
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                out[:, y + down, x + right] = image[:, y, x]
    return out


@given(st.integers(-3, 3), st.integers(-3, 3))
def test_crop_shifts_down_and_right_and_lets_zeros_in(down, right):
    image = pictures(1, 2, 5, 7)
    moved = replace(still(("crop",)), shift=torch.tensor([[down, right]]))(image)
    assert torch.equal(moved[0], shifted(image[0], down, right))


@given(st.integers(4, 9), st.integers(4, 9), st.data())
def test_cutout_blackens_a_half_size_hole_clipped_at_the_border(height, width, data):
    row, column = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    image = pictures(1, 2, height, width) + 9
    tall, wide = int(height / 2 + 0.5), int(width / 2 + 0.5)
    expected = image.clone()
    top, left = row - tall // 2, column - wide // 2
    expected[:, :, max(0, top) : max(0, top + tall), max(0, left) : max(0, left + wide)] = 0
    assert torch.equal(replace(still(("cutout",)), hole=torch.tensor([[row, column]]))(image), expected)


def test_a_hole_in_the_corner_is_a_quarter_of_a_hole():
    cut = still(("cutout",))(torch.ones(1, 1, 8, 8))
    assert cut[0, 0].tolist() == [[0.0] * 2 + [1.0] * 6] * 2 + [[1.0] * 8] * 6


@pytest.mark.parametrize("operation", ["crop", "scale", "rotate"])
def test_moving_by_nothing_leaves_images_alone(operation):
    images = pictures(2, h=7, w=6)
    torch.testing.assert_close(still((operation,), 2)(images), images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("operation", ["scale", "rotate"])
def test_sampling_by_indices_is_grid_sample_with_the_same_gradient(operation, monkeypatch):
    images = pictures(4, 2, 7, 10, dtype=torch.float64).requires_grad_()
    transform = drawn((operation,), 4, (2, 7, 10))
    expected = transform(images)
    seen = []
    monkeypatch.setattr(
        "torch.nn.functional.grid_sample", lambda x, grid, **_: (seen.append(grid), _sample(x, grid))[1]
    )
    found = transform(images)
    assert len(seen) == 1
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    upstream = pictures(4, 2, 7, 10, seed=1, dtype=torch.float64)
    slow, fast = (torch.autograd.grad(moved, images, upstream)[0] for moved in (expected, found))
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=1e-12)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_operation_can_be_differentiated_deterministically_on_the_gpu():
    images = pictures(4).to("cuda").requires_grad_()
    transform = draw(ALL, 4, (3, 8, 8), torch.Generator("cuda").manual_seed(0))
    for name in ALL:
        transform = replace(transform, operations=(name,))
        first, second = (torch.autograd.grad(transform(images).square().sum(), images)[0] for _ in range(2))
        assert torch.equal(first, second)
        expected = transform(images.detach())
        torch.testing.assert_close(transform(images), expected, rtol=1e-4, atol=1e-5)


def test_scale_by_2_shows_the_image_at_half_the_height_alone():
    image = torch.ones(1, 1, 8, 8)
    shrunk = replace(still(("scale",)), scale=torch.tensor([[2.0, 1.0]]))(image)
    assert shrunk[0, 0, :, 4].tolist() == [0, 0, 1, 1, 1, 1, 0, 0]
    torch.testing.assert_close(shrunk[0, 0, 4], torch.ones(8))


def test_a_quarter_turn_is_a_quarter_turn():
    image = pictures(1, h=6, w=6)
    turned = replace(still(("rotate",)), angle=torch.tensor([math.pi / 2]))(image)
    torch.testing.assert_close(turned, image.rot90(1, dims=(2, 3)), rtol=0, atol=1e-4)


@pytest.mark.parametrize(("h", "w"), [(24, 72), (72, 24), (40, 40)])
def test_a_turn_is_one_in_pixels_on_oblong_images_too(h, w):
    """A ramp of grey, read back: one that rises along a direction rises along the turned one, and as steeply."""
    angle = math.radians(15)
    down, right = torch.meshgrid(torch.arange(h) - (h - 1) / 2, torch.arange(w) - (w - 1) / 2, indexing="ij")
    turn = replace(still(("rotate",)), angle=torch.tensor([angle]))
    inside = (slice(h // 2 - 3, h // 2 + 3), slice(w // 2 - 3, w // 2 + 3))
    for ramp, expected in (
        (right, math.cos(angle) * right - math.sin(angle) * down),
        (down, math.sin(angle) * right + math.cos(angle) * down),
    ):
        torch.testing.assert_close(turn(ramp[None, None].float())[0, 0][inside], expected[inside], rtol=0, atol=1e-4)


def test_a_rotation_lets_zeros_in_at_the_corners():
    turned = replace(still(("rotate",)), angle=torch.tensor([math.radians(45)]))(torch.ones(1, 1, 9, 9))
    assert turned[0, 0, 0, 0] == 0 and turned[0, 0, 4, 4] == pytest.approx(1)


@given(st.integers(0, 50), st.sets(st.sampled_from(["crop", "scale", "rotate"]), min_size=1))
def test_exactly_one_geometric_operation_is_applied(seed, kept):
    operations = tuple(name for name in ("crop", "scale", "rotate") if name in kept)
    images = pictures(6)
    transform = drawn(operations, 6, (3, 8, 8), seed)
    for i, choice in enumerate(transform.choice.tolist()):
        alone = replace(part(transform, i), operations=(operations[choice],), choice=torch.zeros(1, dtype=torch.long))
        torch.testing.assert_close(transform(images)[i : i + 1], alone(images[i : i + 1]))


def test_each_geometric_operation_is_chosen_equally_often():
    counts = drawn(ALL, 3000, (3, 8, 8)).choice.bincount(minlength=3)
    assert (counts / 3000).tolist() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_order_is_flip_color_geometric_cutout():
    transform, images = drawn(ALL, 5, (3, 8, 8), seed=3), pictures(5)
    step_by_step = images
    for operations in (("flip",), ("color",), ("crop", "scale", "rotate"), ("cutout",)):
        step_by_step = replace(transform, operations=operations)(step_by_step)
    torch.testing.assert_close(transform(images), step_by_step)


@pytest.mark.parametrize("operation", ALL)
def test_the_gradient_is_that_of_the_function(operation):
    transform = drawn((operation,), 2, (2, 5, 6), seed=1)
    if operation in ("scale", "rotate", "color"):
        transform = replace(
            transform, scale=transform.scale.double(), angle=transform.angle.double(), color=transform.color.double()
        )
    images = pictures(2, 2, 5, 6, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(transform, (images,))


def test_the_draw_depends_on_its_generator_alone():
    state = torch.get_rng_state()
    first, second, other = (drawn(ALL, 4, (3, 8, 8), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    for name in PARAMETERS:
        assert torch.equal(getattr(first, name), getattr(second, name))
    assert not torch.equal(first.color, other.color)
