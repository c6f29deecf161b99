"""What DASM is compared with: the released IDC code (arXiv 2205.14959) restated plainly, its waste included.

Per class and one class after another: stack the real batch from a list of images, decode every synthetic image and then
throw most away, augment both sides together, differentiate all weights, go back through the double graph into pixels
*and* weights, step one optimiser over the pixels of all classes, and read the distance off the device.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dasm.augment import Operation, draw
from dasm.formation import decode
from dasm.types import LabelledImages, normalise


class ReferenceMatching:
    """Matching iterations as IDC runs them."""

    def __init__(
        self,
        network: nn.Module,
        real: LabelledImages,
        pixels: Tensor,
        *,
        factor: int,
        real_batch: int,
        synthetic_batch: int,
        metric: str,
        augmentation: tuple[Operation, ...],
    ) -> None:
        """Keep `pixels` (k m c h w) as one leaf, and the real set as lists of single images."""
        self.network = network
        self.pixels = pixels.clone().flatten(0, 1).requires_grad_()
        self.per_class = pixels.shape[1]
        self.optimiser = torch.optim.SGD([self.pixels], lr=5e-3, momentum=0.5)
        self.images = [list(real.pixels(real.members(c))) for c in range(real.num_classes)]
        self.mean, self.std = real.mean, real.std
        self.factor, self.real_batch, self.synthetic_batch = factor, real_batch, synthetic_batch
        self.metric, self.augmentation = metric, augmentation
        self.generator = torch.Generator(device=real.labels.device).manual_seed(0)
        self.orders = [self._endless(len(images)) for images in self.images]

    def _endless(self, count: int) -> Iterator[Tensor]:
        size = min(self.real_batch, count)
        while True:
            order = torch.randperm(count, generator=self.generator, device=self.generator.device)
            yield from order[: count // size * size].split(size)

    def iteration(self, classes: int) -> float:
        """Match so many classes in turn; return the sum of the distances."""
        total = 0.0
        for c in range(classes):
            total += self._match(c)
        return total

    def _match(self, c: int) -> float:
        device = self.pixels.device
        real = torch.stack([self.images[c][i] for i in next(self.orders[c]).tolist()])
        decoded = decode(self.pixels[c * self.per_class : (c + 1) * self.per_class], self.factor)
        if len(decoded) > self.synthetic_batch:
            kept = torch.randperm(len(decoded), generator=self.generator, device=device)[: self.synthetic_batch]
            decoded = decoded[kept]
        both = normalise(torch.cat([real, decoded]), self.mean, self.std)
        shape = (both.shape[1], both.shape[2], both.shape[3])
        both = draw(self.augmentation, 1, shape, self.generator).repeat(len(both))(both)
        weights = list(self.network.parameters())
        sides = []
        for side, differentiable in ((both[: len(real)], False), (both[len(real) :], True)):
            labels = torch.full((len(side),), c, device=device)
            loss = F.cross_entropy(self.network(side), labels)
            sides.append(torch.autograd.grad(loss, weights, create_graph=differentiable, retain_graph=True))
        distance = torch.zeros((), device=device)
        for g, h in zip(*sides, strict=True):
            if g.dim() == 4:
                gap = h - g.detach()
                distance = distance + (gap.square().sum() if self.metric == "mse" else gap.abs().sum())
        self.optimiser.zero_grad()
        distance.backward()
        self.optimiser.step()
        return distance.item()


class ReferenceTraining:
    """Supervised steps as the field's code runs them: autograd, torch's optimiser, metrics read at every step."""

    def __init__(
        self, network: nn.Module, data: LabelledImages, *, batch_size: int, augmentation: tuple[Operation, ...]
    ) -> None:
        """Keep the set on its device; batches are drawn by index, which is kinder than the original."""
        self.network, self.data = network, data
        self.batch_size, self.augmentation = batch_size, augmentation
        self.optimiser = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        self.generator = torch.Generator(device=data.labels.device).manual_seed(0)

    def steps(self, count: int) -> None:
        """Take so many steps."""
        for _ in range(count):
            indices = torch.randint(
                len(self.data), (self.batch_size,), generator=self.generator, device=self.generator.device
            )
            images, labels = self.data.inputs(indices), self.data.labels[indices]
            images = draw(self.augmentation, len(images), self.data.image_shape, self.generator)(images)
            logits = self.network(images)
            loss = F.cross_entropy(logits, labels)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            loss.item()
            (logits.argmax(1) == labels).float().mean().item()


@torch.no_grad()
def bare_forward(network: nn.Module, inputs: Tensor, batch_size: int = 500) -> Tensor:
    """Return the logits of normalised images that lie ready in memory."""
    return torch.cat([network(batch) for batch in inputs.split(batch_size)])
