"""Augmentations shared by real and synthetic images: one draw per class and iteration."""

from dataclasses import replace
from typing import final

import torch

from dasm import rng
from dasm.augment import Operation, Transform, draw, others_than_one
from dasm.types import LabelledImages

#: Devices on which drawing is slow, and the iterations that are drawn there at once.
_BLOCKED = ("cuda",)
_ITERATIONS = 64


@final
class SharedTransforms:
    """Transforms, each a function of a stream and the number of the iteration.

    On a CPU it is the stream of the iteration. On a GPU, where every draw would be a dozen launches, a block of
    iterations is drawn at once from a stream of the work as a whole, named by the number of the block: other numbers,
    and still the same ones in a run that goes on. With `one` among the operations, which one it is is always drawn on
    the CPU, because it decides what is launched.
    """

    def __init__(
        self, operations: tuple[Operation, ...], real: LabelledImages, stream: int, *, name: str = "shared"
    ) -> None:
        """Draw nothing yet.

        Args:
            operations: what to apply, as for `dasm.augment.draw`.
            real: whose classes, image shape and device the draws are for.
            stream: of the blocks.
            name: of the draws under their streams.
        """
        self._operations = operations
        self._others = others_than_one(operations) if "one" in operations else operations
        self._classes = real.num_classes
        self._shape = real.image_shape
        self._stream = rng.derive(stream, name)
        self._device = real.labels.device
        self._name = name
        self._number = -1

    def of_all(self, iteration: int, stream: int) -> Transform:
        """Return one draw per class; `one` picks the same operation for all of them.

        Args:
            iteration: number of the pixel update, from 0.
            stream: of this iteration.
        """
        if self._device.type not in _BLOCKED:
            generator = rng.generator(stream, self._name, device=self._device)
            return draw(self._operations, self._classes, self._shape, generator)
        return self._rows(iteration, 0, self._classes)

    def of_class(self, label: int, iteration: int, stream: int) -> Transform:
        """Return the draw of one class; `one` picks anew for every class. Otherwise as `of_all`."""
        if self._device.type not in _BLOCKED:
            generator = rng.generator(stream, self._name, label, device=self._device)
            return draw(self._operations, 1, self._shape, generator)
        return self._rows(iteration, label, label + 1)

    def _rows(self, iteration: int, first: int, last: int) -> Transform:
        number, place = divmod(iteration, _ITERATIONS)
        if number != self._number:
            self._number = number
            rows = _ITERATIONS * self._classes
            generator = rng.generator(self._stream, number, device=self._device)
            self._block = draw(self._others, rows, self._shape, generator)
            picks = torch.randint(max(1, len(self._others)), (rows,), generator=rng.generator(self._stream, number))
            self._picks: list[int] = picks.tolist()
        start = place * self._classes
        found = self._block.at(slice(start + first, start + last))
        if "one" not in self._operations:
            return found
        return replace(found, operations=(self._others[self._picks[start + first]],))
