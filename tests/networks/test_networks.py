"""The contract of every network in the folder, with its default options."""

import re

import pytest
import torch
import torch.nn.functional as F

from dasm.errors import ConfigError
from dasm.networks import Network, predict
from dasm.plugins import build
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.handmade import equal_states, listed, with_batch_norm

NAMES = listed("networks")
every_network = pytest.mark.parametrize("name", NAMES)


def made(name) -> Network:
    return build(Network, {"name": name}, "network")


def smallest_side(network, channels, side):
    """The smallest side that works according to the refusal of `side`, or `side` itself where it is not refused."""
    try:
        network.build((channels, side, side), 2, 0)
    except ConfigError as error:
        return int(re.search(r">= (\d+)", str(error)).group(1))
    return side


@every_network
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [8, 28, 32, 64])
def test_a_network_reads_images_of_its_size_or_names_the_smallest(name, side, channels):
    network = made(name)
    works = max(side, smallest_side(network, channels, side))
    inputs = torch.randn(2, channels, works, works, generator=torch.Generator().manual_seed(0))
    classifier = network.build((channels, works, works), 5, 0).eval()
    features = classifier.features(inputs)
    assert features.shape == (2, classifier.head.in_features)
    logits = classifier(inputs)
    assert logits.shape == (2, 5)
    assert torch.equal(logits, classifier.head(features))


@every_network
def test_the_smallest_side_works_and_the_next_smaller_does_not(name):
    network = made(name)
    smallest = smallest_side(network, 1, 1)
    classifier = network.build((1, smallest, smallest), 2, 0).eval()
    assert classifier(torch.zeros(1, 1, smallest, smallest)).isfinite().all()
    if smallest > 1:
        with pytest.raises(ConfigError, match=f">= {smallest}"):
            network.build((1, 64, smallest - 1), 2, 0)
        with pytest.raises(ConfigError, match=f">= {smallest}"):
            network.build((1, smallest - 1, 64), 2, 0)


@every_network
def test_a_network_reads_images_that_are_not_square(name):
    classifier = made(name).build((3, 40, 33), 4, 0).eval()
    assert classifier(torch.zeros(2, 3, 40, 33)).shape == (2, 4)


@every_network
def test_initialisation_depends_on_the_stream_alone(name):
    network, shape = made(name), (1, 32, 32)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = network.build(shape, 3, 5)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert equal_states(first, network.build(shape, 3, 5))
    other = network.build(shape, 3, 6)
    pairs = zip(first.named_parameters(), other.parameters(), strict=True)
    assert not any(torch.equal(a, b) for (_, a), b in pairs if a.dim() > 1)


@every_network
def test_a_few_steps_bring_the_loss_down(name):
    data = make_blobs(8, 0, side=smallest_side(made(name), 1, 16))
    recipe = Recipe(batch_size=24, learning_rate=0.05, augmentation=(), cutmix=0.0)
    trainer = Trainer(network=made(name), recipe=recipe)
    before = F.cross_entropy(predict(trainer.start(data, 0).network, data), data.labels)
    (trained,) = trainer.train(data, 15, stream=0)
    assert F.cross_entropy(predict(trained, data), data.labels) < 0.7 * before


@every_network
def test_the_gradient_reaches_every_weight(name):
    side = smallest_side(made(name), 1, 16)
    classifier = made(name).build((1, side, side), 3, 0)
    inputs = torch.randn(4, 1, side, side, generator=torch.Generator().manual_seed(0))
    F.cross_entropy(classifier(inputs), torch.tensor([0, 1, 2, 0])).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in classifier.parameters() if p.dim() > 1)


@every_network
def test_logits_do_not_depend_on_the_company_of_an_image(name):
    side = smallest_side(made(name), 1, 16)
    data = make_blobs(3, 0, side=side)
    classifier = made(name).build(data.image_shape, 3, 0).train()
    alone = torch.cat([predict(classifier, data.subset(torch.tensor([i]))) for i in range(len(data))])
    torch.testing.assert_close(predict(classifier, data), alone, rtol=1e-4, atol=1e-5)


def test_prediction_is_in_evaluation_mode_and_leaves_no_trace(blobs):
    classifier = with_batch_norm()
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    logits = predict(classifier, blobs)
    assert classifier.training
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.state_dict().items())
    torch.testing.assert_close(logits, classifier.eval()(blobs.inputs()).detach())
    predict(classifier, blobs)
    assert not classifier.training


def test_predictions_are_plain_tensors_without_a_graph(blobs):
    logits = predict(with_batch_norm(), blobs)
    assert not logits.requires_grad and not logits.is_inference()
    logits += 1


def test_prediction_in_batches_keeps_the_order(monkeypatch, blobs):
    whole = predict(with_batch_norm(), blobs)
    monkeypatch.setattr("dasm.networks._PREDICT_BATCH", 7)
    torch.testing.assert_close(predict(with_batch_norm(), blobs), whole)


@pytest.mark.parametrize("name", ["convnet", "mlp"])
@pytest.mark.parametrize("option", ["width", "depth"])
def test_an_empty_network_is_refused(name, option):
    with pytest.raises(ConfigError, match=rf"^network: {option} must be >= 1, got 0$"):
        build(Network, {"name": name, option: 0}, "network")


def test_the_convnet_is_that_of_the_field():
    classifier = made("convnet").build((3, 32, 32), 10, 0)
    # 128 channels three times, one scale and shift each, 2048 features: 320,010 weights (DC, arXiv 2006.05929).
    assert sum(p.numel() for p in classifier.parameters()) == 320_010
    assert classifier.head.in_features == 2048


@pytest.mark.parametrize(("norm", "same"), [("instance", True), ("none", False)])
def test_instance_norm_takes_the_contrast_away_and_none_does_not(norm, same):
    inputs = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    network = build(Network, {"name": "convnet", "width": 4, "depth": 1, "norm": norm}, "network")
    classifier = network.build((1, 8, 8), 2, 0)
    with torch.no_grad():
        classifier.body[0].bias.zero_()
    assert torch.allclose(classifier(inputs), classifier(inputs * 5), atol=1e-3) is same
