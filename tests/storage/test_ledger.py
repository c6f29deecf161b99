import time

import pytest
import torch
from torch import nn

from dasm.networks import predict
from dasm.networks.mlp import MLP
from dasm.storage.ledger import metered
from dasm.train import Recipe, Trainer
from tests.conftest import make_blobs
from tests.handmade import equal_states, with_batch_norm


def test_images_that_were_only_looked_at_are_forward_images(blobs):
    network = with_batch_norm()
    with metered() as cost:
        predict(network, blobs)
        predict(network, blobs.subset(torch.arange(5)))
    assert (cost.counts.forward_images, cost.counts.backward_images) == (48 + 5, 0)


def test_images_that_were_learnt_from_are_backward_images_too():
    trainer = Trainer(network=MLP(width=4, depth=1), recipe=Recipe(batch_size=20))
    with metered() as cost:
        trainer.train(make_blobs(16, 0), 4, stream=0)
    # 48 images in batches of 20, 20, 8, then 20 of the next epoch.
    assert (cost.counts.forward_images, cost.counts.backward_images) == (68, 68)


def test_only_classifiers_are_counted():
    with metered() as cost:
        nn.Linear(3, 2)(torch.ones(5, 3))
    assert (cost.counts.forward_images, cost.counts.backward_images) == (0, 0)


def test_nothing_is_counted_after_the_block_even_after_an_error(blobs):
    with pytest.raises(RuntimeError, match="inside"), metered() as cost:
        raise RuntimeError("inside")
    predict(with_batch_norm(), blobs)
    assert cost.counts.forward_images == 0


def test_counting_changes_no_number(trainer, blobs):
    (plain,) = trainer.train(blobs, 3, stream=0)
    with metered():
        (counted,) = trainer.train(blobs, 3, stream=0)
    assert equal_states(plain, counted)


def test_seconds_are_wall_time_and_memory_is_that_of_the_process():
    with metered() as cost:
        time.sleep(0.05)
    assert 0.05 <= cost.seconds < 5
    # A process with torch in it takes more than 100 MiB and less than a terabyte.
    assert 100 < cost.peak_memory_mb < 2**20
    assert cost.counts.device == "cpu"
