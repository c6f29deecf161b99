"""The contract of every network in the folder, in narrow versions of what would take long."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from dasm.errors import ConfigError
from dasm.networks import embed, halvings, predict
from dasm.networks.convnet import ConvNet
from dasm.readings import Reading
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.handmade import equal_states, with_batch_norm
from tests.networks.versions import NAMES, VARIANTS, made, narrow, noise, smallest_side, variant_id

deep = pytest.mark.deep
every_network = pytest.mark.parametrize("name", NAMES)
every_variant = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=map(variant_id, VARIANTS))


@every_network
@pytest.mark.parametrize(
    ("channels", "side"),
    [(1, 8), (3, 8), (1, 28), (3, 32), pytest.param(3, 64, marks=deep), pytest.param(1, 96, marks=deep)],
)
def test_a_network_reads_images_of_its_size_or_names_the_smallest(name, channels, side):
    network = narrow(name)
    works = max(side, smallest_side(network, channels, side))
    classifier = network.build((channels, works, works), 5, 0).eval()
    inputs = noise(2, channels, works, works)
    features = classifier.features(inputs)
    assert features.shape == (2, classifier.head.in_features)
    logits = classifier(inputs)
    assert logits.shape == (2, 5)
    assert torch.equal(logits, classifier.head(features))


@every_network
def test_a_network_says_whether_it_has_convolutions_that_can_be_asked(name):
    network = narrow(name)
    side = max(32, smallest_side(network, 1, 1))
    data = make_blobs(1, 0, side=side)
    classifier = network.build(data.image_shape, 3, 0)
    assert network.convolves == bool(Reading(classifier, data).moments)


@every_network
def test_the_smallest_side_works_and_the_next_smaller_does_not(name):
    network = narrow(name)
    smallest = smallest_side(network, 1, 1)
    classifier = network.build((1, smallest, smallest), 2, 0).eval()
    assert classifier(torch.zeros(1, 1, smallest, smallest)).isfinite().all()
    if smallest > 1:
        for height, width in ((64, smallest - 1), (smallest - 1, 64), (smallest - 1, smallest - 1)):
            message = rf"^sides must be >= {smallest} for \w.*, got \({height}, {width}\)$"
            with pytest.raises(ConfigError, match=message):
                network.build((1, height, width), 2, 0)


@every_network
@pytest.mark.parametrize("sides", [(40, 33), (12, 64), (97, 65)])
def test_a_network_reads_images_that_are_not_square(name, sides):
    classifier = narrow(name).build((3, *sides), 4, 0).eval()
    assert classifier(torch.zeros(2, 3, *sides)).shape == (2, 4)


@every_network
def test_initialisation_depends_on_the_stream_alone(name):
    network, shape = narrow(name), (1, 32, 32)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = network.build(shape, 3, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert equal_states(first, network.build(shape, 3, 5))
    other = network.build(shape, 3, 6)
    pairs = zip(first.parameters(), other.parameters(), strict=True)
    # Tokens and layer scales start as constants.
    assert not any(torch.equal(a, b) for a, b in pairs if a.dim() > 1 and a.unique().numel() > 1)


@every_network
def test_a_few_steps_bring_the_loss_down(name):
    network = narrow(name)
    data = make_blobs(8, 0, side=smallest_side(network, 1, 8))
    recipe = Recipe(batch_size=24, learning_rate=0.05, augmentation=(), cutmix=0.0)
    trainer = Trainer(network=network, recipe=recipe)

    def loss(classifier):
        # In training mode: running statistics need longer than a few steps, most of all those of depthwise maps.
        return F.cross_entropy(classifier.train()(data.inputs()), data.labels)

    before = loss(trainer.start(data, 0).network)
    # Without any norm the loss hardly moves at first.
    (trained,) = trainer.train(data, 40 if name == "alexnet" else 15, stream=0)
    assert loss(trained) < 0.7 * before


@every_network
@pytest.mark.parametrize("side", [8, 28, pytest.param(64, marks=deep)])
def test_training_repeats_and_depends_on_the_stream_alone(name, side):
    network = narrow(name)
    data = make_blobs(1, 0, side=smallest_side(network, 1, side))
    trainer = Trainer(network=network, recipe=Recipe(batch_size=2, augmentation=("flip", "crop"), cutmix=0.5))
    torch.manual_seed(1)
    state = torch.get_rng_state()
    # The second of two steps is on a batch of one image.
    (first,) = trainer.train(data, 2, stream=3)
    assert torch.equal(torch.get_rng_state(), state), "dropout or stochastic depth draws from the global stream"
    torch.manual_seed(2)
    (second,) = trainer.train(data, 2, stream=3)
    assert equal_states(first, second)
    assert all(p.isfinite().all() for p in first.parameters())
    assert not equal_states(first, trainer.start(data, 3).network)


@every_variant
@pytest.mark.parametrize("side", [8, 28, pytest.param(64, marks=deep), pytest.param(224, marks=deep)])
def test_the_gradient_reaches_every_weight(name, options, side):
    network = narrow(name, **options)
    side = smallest_side(network, 1, side)
    classifier = network.build((1, side, side), 3, 0).train()
    inputs = noise(2, 1, side, side).requires_grad_()
    kept = inputs.detach().clone()
    F.cross_entropy(classifier(inputs), torch.tensor([0, 2])).backward()
    for key, parameter in classifier.named_parameters():
        if parameter.dim() > 1:
            gradient = parameter.grad
            assert gradient is not None and gradient.isfinite().all() and gradient.abs().sum() > 0, key
    assert inputs.grad.abs().sum() > 0
    assert torch.equal(inputs, kept)


@deep
@every_variant
def test_a_gradient_on_the_weights_can_be_matched_by_moving_the_image(name, options):
    """Differentiated twice, and against differences of the loss's gradient along one direction of the image."""
    network = narrow(name, **options)
    side = smallest_side(network, 1, 32)
    classifier = network.build((1, side, side), 3, 0).double().train()
    weights, images = list(classifier.parameters()), noise(2, 1, side, side).double()

    def size(inputs):
        loss = F.cross_entropy(classifier(inputs), torch.tensor([0, 2]))
        return sum(g.square().sum() for g in torch.autograd.grad(loss, weights, create_graph=True))

    images.requires_grad_()
    (gradient,) = torch.autograd.grad(size(images), images)
    step = 1e-6 * F.normalize(gradient.flatten(), dim=0).view_as(images)
    ahead, behind = (size(images.detach().requires_grad_() + sign * step).item() for sign in (1, -1))
    assert (ahead - behind) / 2e-6 == pytest.approx(gradient.norm().item(), rel=1e-3)


@every_variant
def test_a_batch_of_one_image_can_be_learned_from(name, options):
    # The last batch of an epoch may hold one image; batch normalisation of one pixel would refuse it.
    network = narrow(name, **options)
    side = smallest_side(network, 1, 1)
    classifier = network.build((1, side, side), 3, 0).train()
    F.cross_entropy(classifier(noise(1, 1, side, side)), torch.tensor([1])).backward()
    assert all(p.grad.isfinite().all() for p in classifier.parameters())


@every_variant
def test_nothing_works_in_place_and_nothing_is_dropped(name, options):
    for part in narrow(name, **options).build((3, 64, 64), 3, 0).modules():
        assert not getattr(part, "inplace", False), part
        assert not getattr(part, "p", 0), f"{part} would draw from the global stream"


@every_variant
def test_logits_do_not_depend_on_the_company_of_an_image(name, options):
    network = narrow(name, **options)
    data = make_blobs(3, 0, side=smallest_side(network, 1, 16))
    classifier = network.build(data.image_shape, 3, 0).train()
    alone = torch.cat([predict(classifier, data.subset(torch.tensor([i]))) for i in range(len(data))])
    # Instance normalisation of 2 x 2 nearly equal pixels enlarges rounding errors.
    torch.testing.assert_close(predict(classifier, data), alone, rtol=1e-3, atol=1e-3)


def test_prediction_is_in_evaluation_mode_and_leaves_no_trace(blobs):
    classifier = with_batch_norm()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    logits = predict(classifier, blobs)
    assert classifier.training
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    torch.testing.assert_close(logits, classifier.eval()(blobs.inputs()).detach())
    predict(classifier, blobs)
    assert not classifier.training


def test_prediction_that_fails_leaves_the_mode_as_it_was(blobs):
    classifier = with_batch_norm()
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        predict(classifier, replace(blobs, images=blobs.images[:, :, :4]))
    assert classifier.training


def test_an_empty_set_has_no_logits(blobs):
    assert predict(with_batch_norm(), blobs.subset(torch.arange(0))).shape == (0, 3)


def test_predictions_are_plain_tensors_without_a_graph(blobs):
    logits = predict(with_batch_norm(), blobs)
    assert not logits.requires_grad and not logits.is_inference()
    logits += 1


def test_prediction_in_batches_keeps_the_order(monkeypatch, blobs):
    whole = predict(with_batch_norm(), blobs)
    monkeypatch.setattr("dasm.networks._PREDICT_BATCH", 7)
    torch.testing.assert_close(predict(with_batch_norm(), blobs), whole)


@pytest.mark.parametrize(("small", "sizes"), [(64, [48]), (63, [5] * 9 + [3])])
def test_of_large_images_a_batch_has_as_many_as_a_small_machine_holds(monkeypatch, blobs, small, sizes):
    """The largest output, of 4 channels of 8 x 8 numbers, takes a kibibyte, and a sixteenth of 80 holds five."""
    classifier, seen = ConvNet(width=4, depth=1).build((1, 8, 8), 3, 0), []
    monkeypatch.setattr("dasm.networks._PREDICT_SMALL", small)
    monkeypatch.setattr("dasm.networks._PREDICT_MEMORY", 80 << 10)
    classifier.body.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    assert len(embed(classifier, blobs)) == len(blobs) == 48
    assert seen == [*([1] if small < 64 else []), *sizes], "one image is looked at first, to see how much it takes"


@pytest.mark.parametrize(
    ("height", "width", "at_most", "number"),
    [
        *(
            (side, side, 3, number)
            for side, number in ((2, 0), (3, 0), (4, 1), (7, 1), (8, 2), (15, 2), (16, 3), (224, 3))
        ),
        (28, 28, 4, 3),
        (32, 32, 4, 4),
        (64, 8, 3, 2),
        (8, 64, 3, 2),
    ],
)
def test_halvings_leave_two_pixels_on_the_smaller_side(height, width, at_most, number):
    assert halvings((3, height, width), at_most) == number


@pytest.mark.parametrize(
    ("name", "option", "value", "rule"),
    [
        *((name, "width", 0, ">= 1") for name in ("convnet", "mlp", "vit", "convnext", "resnet", "resnet_ap", "vgg")),
        *(("convnet", "depth", depth, r"in \[1, 30\]") for depth in (0, 31, 10**9)),
        *((name, "depth", depth, r"in \[1, 1000\]") for name in ("mlp", "vit") for depth in (0, 1001, 10**8)),
        ("alexnet", "widths", [8, 8], "five numbers >= 1"),
        ("alexnet", "widths", [8, 8, 0, 8, 8], "five numbers >= 1"),
        *(
            (name, option, layers, r"four numbers in \[1, 1000\]")
            for name, option in (("convnext", "depths"), ("densenet", "blocks"))
            for layers in ([1, 1, 1], [1, 1, 1, 0], [1, 10**8, 1, 1])
        ),
        ("densenet", "growth", 0, ">= 1"),
        *(("efficientnet", "width", width, r"in \(0, 1000\]") for width in (0.0, 1e30)),
        *(("efficientnet", "depth", depth, r"in \(0, 100\]") for depth in (0.0, 1e30)),
        ("resnet", "depth", 34, "one of 10, 18, 50"),
        ("resnet", "norm", "layer", "one of batch, instance"),
        ("resnet_ap", "depth", 34, "one of 10, 18"),
        ("vit", "heads", 0, ">= 1"),
        ("vit", "heads", 5, "multiple of 5 heads"),
        ("vit", "patch", 0, ">= 1"),
    ],
)
def test_options_out_of_range_are_refused(name, option, value, rule):
    with pytest.raises(ConfigError, match=rf"^network.*must be .*{rule}, got "):
        made(name, **{option: value})


def test_group_norm_needs_a_width_that_four_groups_divide():
    with pytest.raises(ConfigError, match=r"^network: width must be a multiple of 4 for group norm, got 6$"):
        made("convnet", width=6, norm="group")
