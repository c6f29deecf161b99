"""Trained networks on disk: back bit for bit, and refused in one line."""

import pytest
import torch
from safetensors.torch import save_file

from dasm.errors import ConfigError
from dasm.networks.convnet import ConvNet
from dasm.storage.networks import read_networks, write_networks
from tests.handmade import equal_states, with_batch_norm


def small():
    return ConvNet(width=4, depth=1).build((1, 8, 8), 3, 99)


def test_networks_come_back_bit_for_bit(tmp_path):
    networks = [[ConvNet(width=4, depth=1).build((1, 8, 8), 3, 10 * j + t) for t in range(2)] for j in range(3)]
    write_networks(tmp_path, networks)
    found = read_networks(tmp_path, small, 3, 2)
    for mine, theirs in zip(networks, found, strict=True):
        assert all(equal_states(a, b) for a, b in zip(mine, theirs, strict=True))
    assert not any(network.training for snapshots in found for network in snapshots)


def test_the_statistics_of_batch_norm_are_kept_and_nothing_stays_mapped(tmp_path):
    network = with_batch_norm()
    network(torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)))
    write_networks(tmp_path, [[network]])
    before = (tmp_path / "e0-t0.safetensors").read_bytes()
    ((found,),) = read_networks(tmp_path, with_batch_norm, 1, 1)
    assert equal_states(found, network)
    write_networks(tmp_path, [[found]])
    assert (tmp_path / "e0-t0.safetensors").read_bytes() == before


def test_a_network_that_is_not_there_is_damaged_or_another_is_refused_in_one_line(tmp_path):
    path, rule = tmp_path / "e0-t0.safetensors", "must be a trained network"

    def refusal():
        with pytest.raises(ConfigError) as caught:
            read_networks(tmp_path, small, 1, 1)
        return str(caught.value)

    assert refusal() == f"{path}: {rule}, got none"
    path.write_bytes(b"half")
    assert refusal().startswith(f"{path}: {rule} (") and len(refusal().splitlines()) == 1
    save_file({"elsewhere": torch.zeros(2)}, path)
    assert refusal().startswith(f"{path}: {rule} (") and len(refusal().splitlines()) == 1
