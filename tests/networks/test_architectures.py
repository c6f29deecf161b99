"""Each network is the published one: numbers of weights, sizes of maps, initial weights, twins computed otherwise."""

import ast
import sys

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dasm.augment import draw
from dasm.errors import ConfigError
from dasm.objective_parts.classwise import class_gradients, distance
from tests.handmade import DASM
from tests.networks.versions import NAMES, VARIANTS, made, narrow, noise, smallest_side, variant_id


def weights(name, image_shape, classes, **options):
    # No memory, no arithmetic, hence any size.
    with torch.device("meta"):
        return sum(p.numel() for p in made(name, **options).build(image_shape, classes, 0).parameters())


CIFAR, IMAGENET = (3, 32, 32), (3, 224, 224)
PAPER = [64, 192, 384, 256, 256]  # AlexNet's channels


@pytest.mark.parametrize(
    ("name", "options", "image_shape", "classes", "count"),
    [
        # 128 channels three times, one scale and shift each, 2048 features (DC, arXiv 2006.05929).
        ("convnet", {}, CIFAR, 10, 320_010),
        ("convnet", {"norm": "batch"}, CIFAR, 10, 320_010),
        ("convnet", {"norm": "group"}, CIFAR, 10, 320_010),
        ("convnet", {"norm": "none"}, CIFAR, 10, 320_010 - 3 * 256),
        # A scale and a shift for each of 128 channels and 32, 16, 8 pixels squared.
        ("convnet", {"norm": "layer"}, CIFAR, 10, 320_010 - 3 * 256 + 2 * 128 * (32**2 + 16**2 + 8**2)),
        # One block more, and 4 x 4 pixels still: ConvNet-4 of 64 pixels.
        ("convnet", {}, (3, 64, 64), 10, 320_010 + 128 * 128 * 9 + 3 * 128),
        # On CIFAR, the numbers that circulate for the version with a 3x3 stem; on ImageNet, torchvision's.
        ("resnet", {"depth": 10}, CIFAR, 10, 4_903_242),
        ("resnet", {"depth": 18}, CIFAR, 10, 11_173_962),
        ("resnet", {"depth": 18, "norm": "instance"}, CIFAR, 10, 11_173_962),
        ("resnet", {"depth": 50}, CIFAR, 10, 23_520_842),
        ("resnet", {"depth": 18}, IMAGENET, 1000, 11_689_512),
        ("resnet", {"depth": 50}, IMAGENET, 1000, 25_557_032),
        ("densenet", {}, CIFAR, 10, 6_956_298),
        ("densenet", {"growth": 12}, CIFAR, 10, 1_000_618),
        ("densenet", {}, IMAGENET, 1000, 7_978_856),
        ("densenet", {"blocks": [6, 12, 32, 32]}, IMAGENET, 1000, 14_149_480),
        ("vgg", {}, CIFAR, 10, 9_231_114),
        ("vgg", {"norm": "instance"}, CIFAR, 10, 9_231_114),
        # torchvision's less its two 4096-wide layers, and its last layer on 512 features.
        ("vgg", {}, IMAGENET, 1000, 132_868_840 - (25_088 + 1 + 4096 + 1) * 4096 - (4096 - 512) * 1000),
        (
            "alexnet",
            {"widths": [64, 192, 384, 256, 256]},
            IMAGENET,
            1000,
            61_100_840 - (9216 + 4098) * 4096 - 3840 * 1000,
        ),
        # DC's less the flattened 4 x 4 pixels that its head reads, of which one is left.
        ("alexnet", {}, CIFAR, 10, 1_872_202 - 15 * 192 * 10),
        ("efficientnet", {}, IMAGENET, 1000, 5_288_548),
        # Nothing but the head depends on the size of the images.
        ("efficientnet", {}, CIFAR, 10, 5_288_548 - 990 * 1281),
        ("efficientnet", {"width": 1.1, "depth": 1.2}, IMAGENET, 1000, 9_109_994),
        ("convnext", {}, IMAGENET, 1000, 28_589_128),
        # A 2x2 stem in place of the 4x4 one.
        ("convnext", {}, CIFAR, 10, 28_589_128 - 990 * 769 - 3 * 96 * (16 - 4)),
        ("vit", {}, IMAGENET, 1000, 5_717_416),
        # 4x4 patches for 16x16 ones; 65 positions for 197.
        ("vit", {}, CIFAR, 10, 5_717_416 - 990 * 193 - 3 * 192 * (256 - 16) - 192 * (197 - 65)),
        # ResNet's of the same depth, as pooling has no weights; the stem on ImageNet is 7x7 in place of 3x3.
        ("resnet_ap", {}, IMAGENET, 10, 4_903_242 + 3 * 64 * (49 - 9)),
        ("resnet_ap", {}, CIFAR, 10, 4_903_242),
        ("resnet_ap", {"depth": 18, "norm": "batch"}, CIFAR, 10, 11_173_962),
        ("mlp", {}, CIFAR, 10, 3073 * 128 + 129 * 128 + 129 * 10),
        # 61,706 is LeNet's well-known number.
        ("lenet", {}, (1, 28, 28), 10, 61_706),
    ],
)
def test_the_number_of_weights_is_that_of_the_literature(name, options, image_shape, classes, count):
    assert weights(name, image_shape, classes, **options) == count


# Side of the map that is averaged, by side of the image; fewer than two pixels only where no norm has read them.
MAPS = {
    "alexnet": {8: 1, 16: 2, 28: 3, 32: 4, 64: 8, 96: 2, 224: 6},
    "convnext": {8: 1, 16: 2, 28: 1, 32: 2, 64: 4, 96: 3, 224: 7},
    "densenet": {2: 2, 8: 2, 16: 2, 28: 3, 32: 4, 64: 8, 96: 3, 224: 7},
    "efficientnet": {2: 2, 8: 2, 16: 2, 28: 4, 32: 2, 64: 4, 96: 3, 224: 7},
    "resnet": {2: 2, 8: 2, 16: 2, 28: 4, 32: 4, 64: 8, 96: 6, 224: 7},
    "resnet_ap": {2: 2, 8: 2, 16: 2, 28: 3, 32: 4, 64: 8, 96: 6, 224: 7},
    "vgg": {2: 1, 8: 1, 16: 1, 28: 1, 32: 1, 64: 2, 96: 3, 224: 7},
}


@pytest.mark.parametrize(("name", "side", "pixels"), [(n, s, p) for n, sizes in MAPS.items() for s, p in sizes.items()])
def test_the_sides_are_halved_as_often_as_the_image_allows(name, side, pixels):
    classifier = narrow(name).build((1, side, side), 2, 0).eval()
    (pooling,) = [part for part in classifier.body if isinstance(part, nn.AdaptiveAvgPool2d)]
    seen = []
    pooling.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape[2:]))
    with torch.no_grad():
        classifier(noise(1, 1, side, side))
    assert seen == [(pixels, pixels)]


@pytest.mark.parametrize(
    ("side", "depth"),
    [(4, 2), (8, 2), (16, 2), (17, 3), (28, 3), (32, 3), (33, 4), (64, 4), (96, 5), (128, 5), (129, 6), (224, 6)],
)
def test_the_convnet_is_as_deep_as_the_image_wants(side, depth):
    with torch.device("meta"):
        for sides in ((side, side), (side, 2 * side), (2 * side, side)):
            classifier = made("convnet").build((3, *sides), 10, 0)
            assert sum(isinstance(part, nn.Conv2d) for part in classifier.body) == depth
            assert classifier.head.in_features == 128 * (sides[0] // 2**depth) * (sides[1] // 2**depth)


def test_an_explicit_depth_of_the_convnet_is_kept():
    assert sum(isinstance(part, nn.Conv2d) for part in made("convnet", depth=1).build((3, 64, 64), 10, 0).body) == 1
    with pytest.raises(ConfigError, match=r"^sides must be >= 16 for depth 4, got \(32, 15\)$"):
        made("convnet", depth=4).build((3, 32, 15), 10, 0)


@pytest.mark.parametrize(
    ("norm", "over"),
    [("instance", (2, 3)), ("layer", (1, 2, 3)), ("batch", (0, 2, 3)), ("group", (2, 3, 4)), ("none", None)],
)
def test_the_convnet_normalises_over_the_right_pixels(norm, over):
    classifier = made("convnet", width=8, depth=1, norm=norm).build((1, 8, 8), 2, 0).train()
    inputs = noise(3, 1, 8, 8) * 3 + 1
    maps = classifier.body[0](inputs)
    if over is not None:
        grouped = maps.reshape(3, 4, 2, 8, 8) if norm == "group" else maps
        variance, mean = torch.var_mean(grouped, dim=over, correction=0, keepdim=True)
        maps = ((grouped - mean) / (variance + 1e-5).sqrt()).reshape(maps.shape)
    expected = F.avg_pool2d(maps.relu(), 2).flatten(1)
    torch.testing.assert_close(classifier.features(inputs), expected, rtol=1e-4, atol=1e-5)


def copied(source, target):
    """Copy weights in the order in which both define them; every shape has to agree."""
    for ours, theirs in zip(source.parameters(), target.parameters(), strict=True):
        assert ours.shape == theirs.shape
        theirs.data.copy_(ours.data)
    return target.eval()


def torchvision_resnet(classifier, depth):
    from torchvision.models import ResNet
    from torchvision.models.resnet import BasicBlock, Bottleneck

    block, layers = {18: (BasicBlock, [2, 2, 2, 2]), 50: (Bottleneck, [3, 4, 6, 3])}[depth]
    return copied(classifier, ResNet(block, layers, num_classes=3))


def torchvision_densenet(classifier):
    from torchvision.models import DenseNet

    return copied(classifier, DenseNet(4, (2, 3, 2, 2), 8, num_classes=3))


def torchvision_efficientnet(classifier):
    from torchvision.models import efficientnet_b0

    return copied(classifier, efficientnet_b0(num_classes=3))


def torchvision_convnext(classifier):
    from torchvision.models import ConvNeXt
    from torchvision.models.convnext import CNBlockConfig

    stages = [(8, 16, 1), (16, 32, 1), (32, 64, 2), (64, None, 1)]
    return copied(classifier, ConvNeXt([CNBlockConfig(*stage) for stage in stages], num_classes=3))


def torchvision_vit(classifier, side, patch):
    from torchvision.models import VisionTransformer

    twin = VisionTransformer(side, patch, 2, 3, 24, 96, num_classes=3)
    body = classifier.body
    twin.class_token.data.copy_(body.class_token)
    copied(body.patches[1], twin.conv_proj)
    copied(body.encoder, twin.encoder)
    copied(classifier.head, twin.heads.head)
    return twin.eval()


def torchvision_vgg(classifier):
    from torchvision.models.vgg import cfgs, make_layers

    layers = make_layers(cfgs["A"], batch_norm=True)
    return copied(classifier, nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 3)))


def torchvision_alexnet(classifier):
    from torchvision.models import AlexNet

    with torch.device("meta"):
        layers = AlexNet().features
    twin = nn.Sequential(layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 3, device="meta"))
    return copied(classifier, twin.to_empty(device="cpu"))


@pytest.mark.parametrize(
    ("name", "options", "side", "twin"),
    [
        ("resnet", {"depth": 18}, 136, lambda c: torchvision_resnet(c, 18)),
        ("resnet", {"depth": 50}, 136, lambda c: torchvision_resnet(c, 50)),
        ("densenet", {"growth": 4, "blocks": [2, 3, 2, 2]}, 80, torchvision_densenet),
        ("efficientnet", {}, 80, torchvision_efficientnet),
        ("convnext", {"width": 8, "depths": [1, 1, 2, 1]}, 80, torchvision_convnext),
        ("vit", {"width": 24, "depth": 2}, 16, lambda c: torchvision_vit(c, 16, 2)),
        ("vit", {"width": 24, "depth": 2}, 32, lambda c: torchvision_vit(c, 32, 4)),
        ("vit", {"width": 24, "depth": 2}, 64, lambda c: torchvision_vit(c, 64, 8)),
        ("vit", {"width": 24, "depth": 2}, 80, lambda c: torchvision_vit(c, 80, 16)),
        ("vit", {"width": 24, "depth": 2, "patch": 8}, 16, lambda c: torchvision_vit(c, 16, 8)),
        ("vgg", {}, 64, torchvision_vgg),
        ("alexnet", {"widths": PAPER}, 96, torchvision_alexnet),
    ],
)
def test_large_images_see_the_network_of_torchvision(name, options, side, twin):
    classifier = made(name, **options).build((3, side, side), 3, 0)
    inputs = noise(1, 3, side, side)
    theirs = twin(classifier)
    for part in (*classifier.modules(), *theirs.modules()):
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # the statistics are those of the one batch in training
        if hasattr(part, "p"):
            part.p = 0.0
    with torch.no_grad():
        for training in (True, False):
            ours = classifier.train(training)(inputs)
            torch.testing.assert_close(ours, theirs.train(training)(inputs), rtol=1e-3, atol=1e-4)


def test_vit_pads_the_last_patches_with_the_mean_colour():
    network = made("vit", width=24, depth=1, patch=4)
    odd, even = network.build((1, 7, 10), 3, 0).eval(), network.build((1, 8, 12), 3, 0).eval()
    assert sum(p.numel() for p in odd.parameters()) == sum(p.numel() for p in even.parameters())
    inputs = noise(2, 1, 7, 10).requires_grad_()
    torch.testing.assert_close(odd(inputs), even(F.pad(inputs, (0, 2, 0, 1))))
    odd(inputs).square().sum().backward()
    assert (inputs.grad != 0).all(), "some pixel is not read"


def resnet_ap_by_hand(classifier, images, pool):
    """IDC's network as equations: convolution weights, norm scales and shifts are taken in order."""
    left = [parameter.data for parameter in classifier.parameters()]

    def convolved(maps):
        weight = left.pop(0)
        return F.conv2d(maps, weight, padding=weight.shape[-1] // 2)

    def normalised(maps):
        scale, shift = left.pop(0)[:, None, None], left.pop(0)[:, None, None]
        variance, mean = torch.var_mean(maps, dim=(2, 3), correction=0, keepdim=True)
        return (maps - mean) / (variance + 1e-5).sqrt() * scale + shift

    maps = F.avg_pool2d(normalised(convolved(images)).relu(), pool)
    for stage in range(4):
        halving = 2 if stage else 1
        residual = F.avg_pool2d(normalised(convolved(maps)).relu(), halving)
        residual = normalised(convolved(residual))
        if stage:
            maps = normalised(F.avg_pool2d(convolved(maps), halving))
        maps = (maps + residual).relu()
    assert len(left) == 2
    return F.linear(maps.mean((2, 3)), *left)


@pytest.mark.parametrize(("side", "pool"), [(32, 1), (64, 1), (65, 2), (128, 2), (129, 4)])
def test_resnet_ap_averages_where_others_stride(side, pool):
    classifier = made("resnet_ap", width=4).build((1, side, side), 3, 0)
    with torch.no_grad():
        for parameter in classifier.parameters():
            if parameter.dim() == 1:
                parameter += torch.linspace(-0.5, 0.5, len(parameter))
    inputs = noise(2, 1, side, side)
    torch.testing.assert_close(classifier(inputs), resnet_ap_by_hand(classifier, inputs, pool), rtol=1e-4, atol=1e-5)


def test_resnet_ap_10_has_the_blocks_of_idc():
    classifier = made("resnet_ap").build((3, 224, 224), 10, 0)
    convolutions = [p.shape for p in classifier.parameters() if p.dim() == 4]
    assert convolutions == [
        (64, 3, 7, 7),
        *[(64, 64, 3, 3), (64, 64, 3, 3)],
        *[(128, 64, 3, 3), (128, 128, 3, 3), (128, 64, 1, 1)],
        *[(256, 128, 3, 3), (256, 256, 3, 3), (256, 128, 1, 1)],
        *[(512, 256, 3, 3), (512, 512, 3, 3), (512, 256, 1, 1)],
    ]
    assert all(part.stride == (1, 1) for part in classifier.modules() if isinstance(part, nn.Conv2d))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in classifier.modules())


@pytest.mark.parametrize(
    ("name", "options", "spread"),
    [
        ("resnet", {"depth": 10}, lambda p: (2 / (p.shape[0] * p[0, 0].numel())) ** 0.5),
        ("resnet_ap", {}, lambda p: (2 / (p.shape[0] * p[0, 0].numel())) ** 0.5),
        ("densenet", {"blocks": [1, 1, 1, 1]}, lambda p: (2 / p[0].numel()) ** 0.5),
        ("efficientnet", {"depth": 0.2}, lambda p: (2 / (p.shape[0] * p[0, 0].numel())) ** 0.5),
        ("convnext", {"width": 48, "depths": [1, 1, 1, 1]}, lambda p: 0.02),
        ("vit", {"depth": 1}, lambda p: p[0].numel() ** -0.5),
        ("vgg", {}, lambda p: (1 / (3 * p[0].numel())) ** 0.5),
        ("alexnet", {}, lambda p: (1 / (3 * p[0].numel())) ** 0.5),
        ("convnet", {}, lambda p: (1 / (3 * p[0].numel())) ** 0.5),
    ],
)
@pytest.mark.parametrize("side", [28, 80])
def test_convolutions_start_as_in_the_source_stems_included(name, options, spread, side):
    classifier = made(name, **options).build((1, side, side), 10, 0)
    for key, parameter in classifier.named_parameters():
        if parameter.dim() == 4:
            # Four standard errors of a standard deviation.
            tolerance = 4 / (2 * parameter.numel()) ** 0.5
            assert abs(parameter.std().item() / spread(parameter) - 1) < max(tolerance, 0.05), key


MATCHED = [v for v in VARIANTS if v[0] in ("alexnet", "convnet", "resnet", "resnet_ap", "vgg")]


@pytest.mark.parametrize(("name", "options"), MATCHED, ids=map(variant_id, MATCHED))
def test_a_matched_gradient_can_be_differentiated_with_respect_to_the_images(name, options):
    classifier = narrow(name, **options).build((1, 16, 16), 3, 0).double().train()
    unchanged = draw((), 1, (1, 16, 16), torch.Generator())
    target = [g.detach() for g in class_gradients(classifier, noise(4, 1, 16, 16, seed=1).double(), 2, unchanged)]

    def objective(images):
        return distance(class_gradients(classifier, images, 2, unchanged, differentiable=True), target, "cosine")

    images = noise(3, 1, 16, 16, seed=2).double().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(images), images)
    assert gradient.isfinite().all() and (gradient.flatten(1).norm(dim=1) > 0).all()
    # Along its own direction, the slope is the gradient's length. A step that is short where the objective is steep
    # stays within one piece of the piecewise smooth objective.
    length = gradient.norm()
    size = 1e-6 / max(1.0, length.item())
    step = size * gradient / length
    slope = (objective(images.detach() + step) - objective(images.detach() - step)) / (2 * size)
    torch.testing.assert_close(slope.detach(), length, rtol=1e-3, atol=0)


@pytest.mark.parametrize("file", sorted((DASM / "networks").glob("*.py")), ids=lambda file: file.stem)
def test_no_module_imports_torchvision_at_its_top(file):
    # It costs every stage six seconds at start, whatever network it uses.
    imports = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not any("torchvision" in ast.unparse(node) for node in imports)


@pytest.mark.parametrize("name", NAMES)
def test_too_small_images_are_refused_before_torchvision_is_asked(name, monkeypatch):
    network = narrow(name)
    smallest = smallest_side(network, 1, 1)
    for module in {"torchvision", *(module for module in sys.modules if module.startswith("torchvision"))}:
        monkeypatch.setitem(sys.modules, module, None)
    if smallest > 1:
        with pytest.raises(ConfigError, match="sides must be"):
            network.build((1, smallest - 1, smallest), 2, 0)
