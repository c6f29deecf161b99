"""MNIST, Fashion-MNIST, SVHN and CIFAR: torchvision's own loaders on small files in the published layout."""

import hashlib
import pickle
import urllib.error

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from dasm.data.cifar10 import CIFAR10
from dasm.data.cifar100 import CIFAR100
from dasm.data.fashion_mnist import FashionMNIST
from dasm.data.mnist import MNIST
from dasm.data.svhn import SVHN
from dasm.errors import ConfigError
from tests.pictures import noise

KINDS = {"mnist": MNIST, "fashion_mnist": FashionMNIST, "svhn": SVHN, "cifar10": CIFAR10, "cifar100": CIFAR100}
FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def idx(array):
    """The format of MNIST: a magic number, the sizes, the bytes."""
    return b"".join([bytes([0, 0, 8, array.ndim]), *(n.to_bytes(4, "big") for n in array.shape), array.tobytes()])


def write_mnist(root, name, images, labels):
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for split, prefix in (("train", "train"), ("test", "t10k")):
        (folder / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images[split][:, 0]))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels[split].astype(np.uint8)))


def write_svhn(root, images, labels, monkeypatch):
    published = {}
    for split in ("train", "test"):
        path = root / f"{split}_32x32.mat"
        tens = np.where(labels[split] == 0, 10, labels[split])[:, None]
        savemat(path, {"X": images[split].transpose(2, 3, 1, 0), "y": tens.astype(np.uint8)})
        published[split] = ["http://nowhere", path.name, hashlib.md5(path.read_bytes()).hexdigest()]
    monkeypatch.setattr(datasets.SVHN, "split_list", published)


def write_cifar(root, loader, key, images, labels, names, monkeypatch):
    folder = root / loader.base_folder
    folder.mkdir(parents=True)

    def write(name, content):
        (folder / name).write_bytes(pickle.dumps(content))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    for split in ("train", "test"):
        content = {"data": images[split].reshape(len(images[split]), -1), key: labels[split].tolist()}
        monkeypatch.setattr(loader, f"{split}_list", [[split, write(split, content)]])
    meta = loader.meta | {"md5": write(loader.meta["filename"], {loader.meta["key"]: names})}
    monkeypatch.setattr(loader, "meta", meta)


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a small set of a kind in its published layout; return its images and labels."""

    def write(kind, k=10):
        shape = (1, 28, 28) if "mnist" in kind else (3, 32, 32)
        images = {"train": noise(5 * k, *shape), "test": noise(2 * k, *shape, seed=1)}
        labels = {"train": np.arange(5 * k) % k, "test": np.arange(2 * k) // 2}
        if kind == "svhn":
            write_svhn(tmp_path, images, labels, monkeypatch)
        elif kind == "cifar10":
            write_cifar(tmp_path, datasets.CIFAR10, "labels", images, labels, [f"c{i}" for i in range(k)], monkeypatch)
        elif kind == "cifar100":
            names = [f"f{i}" for i in range(k)]
            write_cifar(tmp_path, datasets.CIFAR100, "fine_labels", images, labels, names, monkeypatch)
        else:
            write_mnist(tmp_path, {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[kind], images, labels)
        return images, labels

    return write


def refusal(kind, root):
    with pytest.raises(ConfigError) as caught:
        KINDS[kind](root=str(root)).load(0)
    message = str(caught.value)
    assert "\n" not in message and message.startswith(f"{root}: must ")
    return message


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_files_are_read_pixel_for_pixel(kind, write, tmp_path):
    k = 100 if kind == "cifar100" else 10
    images, labels = write(kind, k)
    task = KINDS[kind](root=str(tmp_path), validation=0.2).load(0)
    assert (task.test.images.numpy() == images["test"]).all()
    assert (task.test.labels.numpy() == labels["test"]).all()
    assert (len(task.train), len(task.validation)) == (4 * k, k)
    known = {image.tobytes(): label for image, label in zip(images["train"], labels["train"], strict=True)}
    for part in (task.train, task.validation):
        for image, label in zip(part.images.numpy(), part.labels.tolist(), strict=True):
            assert known.pop(image.tobytes()) == label
    assert not known


def test_classes_are_called_as_published(write, tmp_path):
    for kind in KINDS:
        write(kind)
    names = {kind: KINDS[kind](root=str(tmp_path)).open(0).class_names for kind in KINDS}
    assert names["mnist"] == names["svhn"] == tuple("0123456789")
    assert names["fashion_mnist"] == FASHION
    assert names["cifar10"] == tuple(f"c{i}" for i in range(10))
    assert names["cifar100"] == tuple(f"f{i}" for i in range(10))


@pytest.mark.parametrize("kind", KINDS)
def test_no_files_and_no_network_is_one_line(kind, tmp_path):
    name = KINDS[kind].__name__
    message = refusal(kind, tmp_path)
    assert message.startswith(f"{tmp_path}: must hold the files of {name}, or let them be downloaded (")
    assert "no network in tests" in message


@pytest.mark.parametrize("kind", ["svhn", "cifar10", "cifar100"])
def test_a_file_that_is_not_the_published_one_is_not_read(kind, write, tmp_path):
    write(kind)
    damaged = next(path for path in sorted(tmp_path.rglob("*test*")) if path.is_file())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    assert "must hold the files of" in refusal(kind, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_download_with_a_wrong_checksum_is_one_line(kind, tmp_path, monkeypatch):
    def retrieve(_, filename, *__):
        with open(filename, "wb") as file:  # noqa: PTH123 - a path of either kind
            file.write(b"a page that says please log in")

    monkeypatch.setattr("torchvision.datasets.utils._urlretrieve", retrieve)
    monkeypatch.setattr("torchvision.datasets.utils._get_redirect_url", lambda url, max_hops: url)
    message = refusal(kind, tmp_path)
    assert message.endswith("(File not found or corrupted.)")


@pytest.mark.parametrize("cut", [1, 500, 10_000_000])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_truncated_file_of_mnist_is_one_line(write, tmp_path, name, cut):
    write("mnist")
    path = tmp_path / "MNIST/raw" / name
    path.write_bytes(path.read_bytes()[: -min(cut, path.stat().st_size)])
    assert "MNIST" in refusal("mnist", tmp_path)


def test_labels_of_another_number_are_refused(write, tmp_path):
    write("mnist")
    (tmp_path / "MNIST/raw/t10k-labels-idx1-ubyte").write_bytes(idx(np.zeros(19, dtype=np.uint8)))
    assert refusal("mnist", tmp_path).endswith("must have a label for each test image, got 19 for 20")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_leaves_nothing_is_refused(kind, share):
    with pytest.raises(ConfigError, match=rf"^validation must be in \(0, 1\), got {share}$"):
        KINDS[kind](validation=share)
