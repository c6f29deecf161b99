"""Everything that a segment is counts in its hash, and nothing else; a chain is refused for any other order."""

import dataclasses
import re

import pytest
import torch

from dasm.errors import ConfigError
from dasm.storage.lineage import content, fingerprint, naming, verify
from tests.handmade import stored_images


def changed(name):
    """The segment with one field changed as little as it can be."""
    segment = stored_images()
    value = getattr(segment, name)
    if value is None:
        given = {"soft_labels": torch.full((len(segment.labels) * segment.factor**2, 2), 0.5), "learned_rate": 0.01}
        return dataclasses.replace(segment, **{name: given[name]})
    if isinstance(value, torch.Tensor):
        value = value.clone()
        value.view(-1)[-1] ^= 1
        return dataclasses.replace(segment, **{name: value})
    return dataclasses.replace(segment, **{name: value + (1 if isinstance(value, int) else 2**-52)})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(stored_images())])
def test_every_field_counts(name):
    assert content(changed(name), {}) != content(stored_images(), {})


def test_provenance_counts_whatever_its_order_and_the_hash_itself_does_not():
    segment = stored_images()
    hashes = [
        content(segment, {"parent": None, "recipe": {"a": 1, "b": [1, 2]}}),
        content(segment, {"recipe": {"b": [1, 2], "a": 1}, "parent": None, "content": "x"}),
        content(segment, {"parent": None, "recipe": {"a": 1, "b": [2, 1]}}),
        content(segment, {"parent": "", "recipe": {"a": 1, "b": [1, 2]}}),
        content(segment, {"recipe": {"a": 1, "b": [1, 2]}}),
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_numbers_count_and_not_where_they_lie():
    rows = torch.arange(12).reshape(3, 4)
    assert fingerprint(0, {"a": rows}) == fingerprint(0, {"a": rows.T.contiguous().T})
    different = [{"a": rows.T}, {"a": rows.int()}, {"b": rows}, {"a": rows[:2], "b": rows[2:]}, {"a": rows.flatten()}]
    assert len({fingerprint(0, tensors) for tensors in [{"a": rows}, *different]}) == 6
    # The same bytes as other numbers, and the same tensors in another order.
    assert fingerprint(0, {"a": torch.zeros(3)}) != fingerprint(0, {"a": torch.zeros(3, dtype=torch.int32)})
    assert fingerprint(0, {"a": rows, "b": rows.T}) == fingerprint(0, {"b": rows.T, "a": rows})


def chain(count=3, **more):
    links, parent = [], None
    for index in range(count):
        segment = stored_images(index)
        provenance = {"parent": parent, **more}
        parent = content(segment, provenance)
        links.append((f"s{index}", segment, {**provenance, "content": parent}))
    return links


def test_a_chain_and_each_of_its_beginnings_are_sound():
    for count in range(4):
        verify(chain(3)[:count])


def short(link):
    return f"segment {link[2]['content'][:12]}"


@pytest.mark.parametrize(
    ("order", "named", "wanted", "got"),
    [([1], 1, 0, None), ([0, 2], 2, 1, 0), ([1, 0], 1, 0, None), ([0, 1, 1], 1, 0, 1), ([0, 0], 0, None, 0)],
)
def test_any_other_order_is_refused(order, named, wanted, got):
    links = chain()
    wanted, got = ("no segment" if number is None else short(links[number]) for number in (wanted, got))
    with pytest.raises(ConfigError) as caught:
        verify([links[number] for number in order])
    assert str(caught.value) == f"s{named}: must follow {wanted}, got {got} before it (segments of different sets?)"


def test_a_segment_of_another_set_is_refused():
    ours, theirs = chain(), chain(arm="other")
    with pytest.raises(ConfigError, match=rf"^s1: must follow {short(ours[0])}, got {short(theirs[0])} before it"):
        verify([theirs[0], *ours[1:]])


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_changed_segment_is_refused_even_the_last(which):
    links = chain()
    name, segment, provenance = links[which]
    images = segment.images.clone()
    images[0, 0, 0, 0] ^= 1
    links[which] = (name, dataclasses.replace(segment, images=images), provenance)
    with pytest.raises(ConfigError, match=rf"^s{which}: must hold what its hash was taken of, got something else"):
        verify(links)


def test_a_segment_without_a_hash_is_refused():
    with pytest.raises(ConfigError, match=r"^s0: must hold what its hash"):
        verify([("s0", stored_images(), {"parent": None})])


@pytest.mark.parametrize("error", [KeyError("label"), IndexError("x\ny"), TypeError(), ConfigError("must be this")])
def test_what_is_wrong_in_a_file_names_it_in_one_line(error):
    with pytest.raises(ConfigError, match=r"^a\.parquet: must [^\n]+$"), naming("a.parquet"):
        raise error


def test_an_error_of_ours_is_not_explained_away():
    with pytest.raises(ZeroDivisionError, match=re.escape("ours")), naming("a.parquet"):
        raise ZeroDivisionError("ours")
