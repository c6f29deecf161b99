"""Where work goes on: the name of its checkpoint hashes all that it depends on, however large that is."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from dasm.windows.budget import Budget
from dasm.windows.tail import Tail
from pipeline.work import runtime
from tests.graph import ROOT
from tests.handmade import listed

# What stages import on the way, once they have set up their process, which this one never did.
STAGE = """
import sys
import numpy as np, pyarrow as pa
from dasm.networks import Network
from dasm.plugins import build
from pipeline.work import runtime

runtime.start()
from torchvision import datasets, models
for name in sys.argv[1:]:
    build(Network, {"name": name}, name).build((3, 32, 32), 10, 0)
assert pa.array(np.arange(3)).to_pylist() == [0, 1, 2]
assert "pandas" not in sys.modules
try:
    import pandas
except ModuleNotFoundError as error:
    print(error)
"""


@pytest.fixture
def named(tmp_path, monkeypatch):
    """A function that says under which name work of these tensors is kept."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DASM_CHECKPOINT_SECONDS", "0")

    def name(*tensors, identity=(), work="work", code="pipeline.drivers.drive", parts=()):
        checkpoint = runtime.checkpoint(work, runtime.identity(*identity, parts=parts, code=(code,), tensors=tensors))
        checkpoint.offer(lambda: {"step": torch.tensor(1)})
        (file,) = (tmp_path / ".checkpoints").iterdir()
        checkpoint.remove()
        return file.name

    return name


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(runtime, "_PIECE_BYTES", 10)


def test_a_real_set_larger_than_memory_is_not_copied(tmp_path, named):
    """As mapped from the prepared arrays: 96 MB, of which no piece is ever held twice."""
    file = np.lib.format.open_memmap(tmp_path / "images.npy", "w+", np.uint8, (32_000, 3, 32, 32))
    file[:] = 7
    file.flush()
    images = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    tracemalloc.start()
    found = named(images)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert found == named(torch.full((32_000, 3, 32, 32), 7, dtype=torch.uint8))


@pytest.mark.usefixtures("small_pieces")
def test_every_byte_of_every_tensor_counts(named):
    rows = torch.arange(60, dtype=torch.uint8).reshape(12, 5)  # six pieces of two rows
    names = {named(rows)}
    for i in range(60):
        other = rows.clone()
        other.view(-1)[i] ^= 1
        names.add(named(other))
    names |= {named(rows.flip(0)), named(rows, rows), named(rows[:-1])}
    names |= {named(torch.rand(12, 5, generator=torch.Generator().manual_seed(seed))) for seed in (0, 1)}
    assert len(names) == 61 + 3 + 2


def test_the_size_of_the_pieces_and_where_numbers_lie_do_not_count(named, monkeypatch):
    rows = torch.arange(60.0).reshape(12, 5)
    names = {named(rows, rows.T, rows[:0])}
    for size in (1, 20, 59, 10**9):
        monkeypatch.setattr(runtime, "_PIECE_BYTES", size)
        names.add(named(rows.T.contiguous().T, rows.T, rows[:0]))
    assert len(names) == 1


def test_parameters_and_parts_count(named):
    rows = torch.zeros(2, 2)
    names = {named(rows), named(rows, identity=(1,)), named(rows, identity=({"a": 1},)), named(rows, work="other")}
    names |= {named(torch.tensor(number)) for number in (1, 2)}  # of no dimension, as batch normalisation counts
    names |= {named(rows, parts=[Tail(width=width)]) for width in (0.3, 0.4)}
    assert len(names) == 8


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A function that writes the packages anew, with some files changed, and says under which name work is kept."""
    texts = {
        "pipeline/a.py": "from pipeline import b",
        "pipeline/b.py": "from dasm.train import fit",
        "pipeline/c.py": "",
        "pipeline/work/runtime.py": "",
        "dasm/train.py": "from dasm.rng import draw",
        "dasm/rng.py": "A = 1",
        "dasm/windows/__init__.py": "",
        "dasm/windows/tail.py": "from dasm.parts import share",
        "dasm/windows/budget.py": "",
        "dasm/parts.py": "B = 1",
    }
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "pipeline/work/runtime.py"))

    def found(changed, part=None):
        for name, text in (texts | changed).items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        parts = [Tail(width=0.3) if part is None else part]
        return runtime.identity(parts=parts, code=("pipeline.a",), tensors=[torch.zeros(1)])

    return found


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline/b.py": "from dasm.train import fit\nB = 2"},
        {"pipeline/a.py": "from pipeline import b, c"},
        {"dasm/train.py": "from dasm.rng import draw as drawn"},
        {"dasm/rng.py": "A = 2"},
        {"dasm/windows/__init__.py": "KEPT = 1"},
        {"dasm/windows/tail.py": "from dasm.parts import share\nWIDTH = 2"},
        {"dasm/parts.py": "B = 2"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_code_that_does_the_work_counts_and_that_of_its_parts_and_all_they_import(library, change):
    assert library(change) != library({})


@pytest.mark.parametrize(
    "change",
    [
        {"pipeline/c.py": "C = 2"},
        {"pipeline/b.py": '"""Says."""\nfrom dasm.train import fit  # words'},
        {"dasm/rng.py": "# Why it is one.\nA = 1"},
        {"dasm/windows/budget.py": "STEP = 2"},
        {"dasm/windows/mine.py": "MINE = 1"},
        {"dasm/windows/tail.py": "\n\nfrom dasm.parts import share"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_other_plug_ins_comments_and_layout_do_not(library, change):
    """Else a new window would cost a study the first segments that its arms share, and whatever was interrupted."""
    assert library(change) == library({})


def test_of_two_parts_of_the_same_options_each_has_its_own_code(library):
    assert library({}, Budget(width=0.3)) != library({}, Tail(width=0.3))
    assert library({"dasm/windows/budget.py": "STEP = 2"}, Budget(width=0.3)) != library({}, Budget(width=0.3))


def test_a_stage_loads_every_network_and_torchvision_but_no_pandas():
    """Torch asks for pandas on its way to torchvision, and must not stumble over its being kept out."""
    called = [sys.executable, "-c", STAGE, *listed("networks")]
    said = subprocess.run(called, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout) == (0, "stages do without pandas\n"), said.stderr
