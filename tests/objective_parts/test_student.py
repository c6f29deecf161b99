"""The network that learns from a synthetic set while its pixels move."""

from dataclasses import replace

import pytest
import torch

from dasm.objective_parts.batches import SyntheticBatches
from dasm.objective_parts.student import Student
from dasm.train import Recipe
from tests.pretended import pretended, replaying


def learnt(trainer, real, *, moved):
    """Weights of two networks that learn from a set whose images turn over between, if `moved`."""
    pixels = [real.pixels(real.members(label)[:2]) for label in range(3)]
    synthetic = SyntheticBatches(pixels=pixels, factor=2, mean=real.mean, std=real.std, stream=0)
    student = Student(real=real, prefix=None, trainer=trainer, stream=3)
    found = []
    for number in range(2):
        student.renew(number)
        student.learn(synthetic, 1)
        for images in pixels if moved else []:
            images.copy_(images.flip(3))
        student.learn(synthetic, 2)
        found.append(torch.nn.utils.parameters_to_vector(student.network.parameters()).detach().cpu().clone())
    return torch.stack(found)


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a real card")
def test_its_steps_are_recorded_once_and_show_the_pixels_as_they_are(trainer, blobs, monkeypatch):
    """24 images: batches of 16 and of 8, one recording each, for both networks and all that the pixels move."""
    plain = replace(trainer, recipe=Recipe(batch_size=16, learning_rate=0.05, augmentation=(), cutmix=0.0))
    expected = learnt(plain, blobs, moved=True)
    assert not torch.allclose(expected, learnt(plain, blobs, moved=False), atol=1e-3), "it sees that pixels move"
    with pretended(monkeypatch), replaying(monkeypatch) as recorded:
        found = learnt(plain, blobs.to("cuda"), moved=True)
    assert sorted(recorded) == [8, 16]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
