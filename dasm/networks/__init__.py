"""Networks: one file per architecture. A network is built with its own stream and says what its features are.

torchvision is imported inside `build` of the few that need it: it costs every stage six seconds at start.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dasm.chains.chain import Chain
from dasm.errors import ConfigError
from dasm.machine import counts
from dasm.machine.flops import watched
from dasm.machine.precision import Precision, answers, products
from dasm.types import LabelledImages

# On a CPU: large enough to keep two cores busy. Of images with more numbers than 3 x 64 x 64, fewer if the largest
# output of a layer takes more than a sixteenth of this memory, whatever the machine has.
_PREDICT_BATCH, _PREDICT_SMALL, _PREDICT_MEMORY = 500, 3 << 12, 1 << 34
# On a GPU the largest output of a layer may take this share of its memory, and this many numbers: kernels count them in
# 32 bits. Of all of its memory, free or not: last bits depend on the size of a batch, and must not on the company. Not
# measured.
_PREDICT_SHARE, _PREDICT_NUMBERS = 1 / 16, 1 << 30


@final
class Classifier(nn.Module):
    """A body that ends in features and one linear layer on top of them.

    Attributes:
        precision: of training and scoring; a direct call computes as torch is set to, and on 32 bits.
    """

    def __init__(self, body: nn.Module, head: nn.Linear) -> None:
        """Join a body that maps (b c h w) to (b d) with a head from d to k."""
        super().__init__()
        self.body = body
        self.head = head
        self.precision: Precision = "fp32"
        self._flops: dict[object, float] = {}

    def features(self, inputs: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d"]:
        """Return what the last linear layer reads."""
        return self._counted("features", self.body, inputs)

    def forward(self, inputs: Float[Tensor, "b c h w"], *, once: bool = False) -> Float[Tensor, "b k"]:
        """Return logits for normalised images.

        Args:
            inputs: images.
            once: the logits will be differentiated once at most, and in the parameters alone, which allows a faster
                way that equals the other up to the order of sums.
        """
        # On a GPU autograd's fewer calls are faster. The written derivatives know 32 and 64 bits alone.
        written = once and inputs.device.type == "cpu" and not torch.is_autocast_enabled("cpu")
        chain = self.chain() if written else None
        if chain is not None and chain.pays(inputs):
            logits = chain(inputs)
            _count(logits, inputs)  # the chain counts its operations itself
            return logits
        return self._counted("logits", lambda images: self.head(self.body(images)), inputs)

    def _counted(self, what: str, answer: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        if not counts.active():
            return answer(inputs)
        key = (what, inputs.shape[1:])
        if key in self._flops:
            output = answer(inputs)
        else:
            with watched(self) as seen:
                output = answer(inputs)
            self._flops[key] = seen.flops / len(inputs)
        _count(output, inputs, self._flops[key])
        return output

    def chain(self) -> Chain | None:
        """Return the network as it is now with its derivatives written out, or nothing if they are not."""
        return Chain.of(self.body, self.head)


class Network(ABC):
    """An architecture and its options."""

    #: Whether it has convolutions that leave more than one pixel of an image, for scores that ask what they say of it.
    convolves: ClassVar[bool] = True

    @abstractmethod
    def build(self, image_shape: tuple[int, int, int], num_classes: int, stream: int) -> Classifier:
        """Return a freshly initialised classifier, on the CPU.

        Args:
            image_shape: channels, height, width.
            num_classes: number of logits.
            stream: the only source of randomness; torch's global stream is put back afterwards.

        Raises:
            ConfigError: the images are too small for the architecture; the message gives the smallest side that works.
        """


def halvings(image_shape: tuple[int, int, int], at_most: int) -> int:
    """Return how many of `at_most` halvings (rounding down) leave at least 2 x 2 pixels; sides are at least 2.

    An architecture leaves out its last halvings on images that are too small for them: of a single pixel, instance
    normalisation leaves nothing, and batch normalisation cannot be trained on a batch of one image.
    """
    return min(at_most, min(image_shape[1:]).bit_length() - 2)


def out_of_place(module: nn.Module) -> nn.Module:
    """Let no activation overwrite its input, which a hook or a second derivative may still want; return the module."""
    for part in module.modules():
        if hasattr(part, "inplace"):
            setattr(part, "inplace", False)  # noqa: B010 - a module's attribute might be a tensor to the type checker
    return module


def predict(network: Classifier, data: LabelledImages) -> Float[Tensor, "n k"]:
    """Return the logits of every image, un-augmented, in evaluation mode, without gradients.

    The network's mode is put back afterwards. Each row depends on its own image alone.
    """
    return over(network, partial(network, once=True), data)


def embed(network: Classifier, data: LabelledImages) -> Float[Tensor, "n d"]:
    """Return the features of every image, on the same terms as `predict`."""
    return over(network, network.features, data)


def finite(outputs: Float[Tensor, "n q"], what: str) -> Float[Tensor, "n q"]:
    """Return what a trained network says of n images as it is.

    Raises:
        ConfigError: the network has diverged; begins with `what`.
    """
    wrong = int((~outputs.isfinite()).any(1).sum())
    if wrong:
        hint = "a smaller learning_rate of its recipe may help"
        raise ConfigError(f"{what} must be finite, got {wrong} of {len(outputs)} that are not ({hint})")
    return outputs


def over(network: Classifier, answer: Callable[[Tensor], Tensor], data: LabelledImages) -> Float[Tensor, "n q"]:
    """Return what `answer` says of every image, un-augmented, on the same terms as `predict`.

    Args:
        network: whose mode and precision it is about.
        answer: maps normalised images (b c h w) to (b q), each row by its own image.
        data: n images.
    """
    was_training = network.training
    network.eval()
    device = data.labels.device
    try:
        with torch.inference_mode(), products(network.precision, device.type):
            one = data.mean.new_zeros(1, *data.image_shape)
            if device.type == "cuda":
                size = fitting(network, one, torch.cuda.mem_get_info(device)[1])
            elif one.numel() <= _PREDICT_SMALL:
                size = _PREDICT_BATCH
            else:
                size = min(_PREDICT_BATCH, fitting(network, one, _PREDICT_MEMORY))
            indices = torch.arange(len(data), device=device).split(size)
            rows = [answers(answer, data.inputs(batch), network.precision) for batch in indices]
    finally:
        network.train(was_training)
    return torch.cat(rows)  # outside of inference mode, so that others may compute with it


def fitting(network: Classifier, one: Float[Tensor, "1 c h w"], memory: int) -> int:
    """Return how many images like `one` a batch may have on a machine of so many bytes, by the largest layer."""
    with counts.aside(), watched(network) as seen:
        network(one)
    largest = max(seen.largest, one.numel() * one.element_size())
    limit = min(memory * _PREDICT_SHARE, _PREDICT_NUMBERS * one.element_size())
    return max(1, int(limit / largest))


def _count(output: Tensor, inputs: Tensor, flops: float = 0.0) -> None:
    n, backward = len(inputs), output.requires_grad
    counts.count(
        forward_images=n,
        backward_images=n if backward else 0,
        flops=round(flops * n * (3 if backward else 1)),
        device=inputs.device.type,
    )
