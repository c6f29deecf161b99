"""The two blocks that say how many segments there are are rewritten together, and comments stay."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from dasm.errors import ConfigError
from pipeline import params, plan
from pipeline.study import parse
from tests.graph import ROOT


@pytest.mark.parametrize("segments", [1, 2, 7])
def test_blocks_agree_and_comments_stay(tmp_path, segments):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    before = params.read(path)
    plan.main(segments, path=str(path))
    after = params.read(path)
    assert len(after["chain"]) == segments
    parse(after)
    assert after["rescore"] == after["chain"][: max(1, segments - 1)]
    assert after["benchmark"]["states"] == list(range(1, segments + 1))
    for k in range(min(segments, len(before["chain"]))):
        assert after["segment"][f"s{k}"] == before["segment"][f"s{k}"]
    for study in (before, after):
        study["benchmark"].pop("states")
        for key in ("chain", "rescore", "segment"):
            study.pop(key)
    assert before == after
    comments = [line.split("#", 1)[1] for line in (ROOT / "params.yaml").read_text().splitlines() if "#" in line]
    assert all(comment in path.read_text() for comment in comments)


@pytest.mark.parametrize("file", ["params.yaml", "studies/cifar10/params.yaml", "studies/pictures/params.yaml"])
def test_what_is_not_changed_stays_as_it_is_written(tmp_path, file):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / file, path)
    have = len(params.read(path)["chain"])
    plan.main(have, path=str(path))
    assert path.read_text() == (ROOT / file).read_text()


def test_down_to_one_segment_and_up_again_adds_no_score(tmp_path):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    for segments in (1, 3):
        plan.main(segments, path=str(path))
    study = params.read(path)
    assert study["rescore"] == study["chain"][:-1]


@pytest.mark.parametrize("segments", [0, -1, 1001])
def test_no_segments_is_refused(tmp_path, segments):
    with pytest.raises(ConfigError, match=r"segments must be in \[1, 1000\]"):
        plan.main(segments, path=str(tmp_path / "params.yaml"))


@pytest.mark.parametrize("segments", [2, 3, 4])
def test_blocks_that_do_not_agree_are_mended_and_what_is_there_is_kept(tmp_path, segments):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    line = re.search(r"^  s2: .*\n", text, flags=re.MULTILINE)[0]
    longer = line.replace("s2", "s3").replace("ipc: 5", "ipc: 7")
    link = "  - {k: 2, next: 3}\n"
    for damaged, rest in (
        (text.replace(line, ""), [3, 3]),
        (text.replace(line, line + longer), [5, 7]),
        (text.replace(link, link + "  - {k: 3, next: 4}\n", 1), [5, 5]),
        (text.replace(link, "  - {k: 2, next: 5}\n", 1), [5, 5]),
    ):
        assert damaged != text
        path.write_text(damaged)
        with pytest.raises(ConfigError):
            parse(params.read(path))
        plan.main(segments, path=str(path))
        after = params.read(path)
        parse(after)
        assert [*after["segment"]] == [f"s{k}" for k in range(segments)]
        sizes = [options["ipc"] for options in after["segment"].values()]
        assert sizes == [2, 3, *rest][:segments]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("ipc: 5,", "ipcs: 5,", "segment.s2: no option called 'ipcs' (have ipc, iterations); did you mean 'ipc'?"),
        ("states: [1, 2, 3]", "states: 3", "benchmark.states must be a list, got 3"),
        ("states: [1, 2, 3]", "states: [a]", "benchmark.states must be numbers of segments, got ['a']"),
        ("  s0: ", "  t0: ", "segment must have at least s0, which others are copied from, got "),
    ],
)
def test_what_cannot_be_mended_is_refused_before_anything_is_written(tmp_path, old, new, said):
    path = tmp_path / "params.yaml"
    text = (ROOT / "params.yaml").read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        plan.main(4, path=str(path))
    assert str(caught.value).startswith(said)
    assert path.read_text() == text.replace(old, new, 1)


@pytest.mark.parametrize("segments", [2, 3, 6])
def test_a_study_without_the_last_score_stays_without_it(tmp_path, segments):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    plan.main(3, path=str(path))
    study = params.read(path)
    study["rescore"].pop()
    study["benchmark"]["states"] = [3]
    with path.open("w") as file:
        YAML().dump(study, file)
    plan.main(segments, path=str(path))
    after = params.read(path)
    parse(after)
    assert after["rescore"] == after["chain"][:-1]
    assert after["benchmark"]["states"] == {2: [2], 3: [3], 6: [3, 4, 5, 6]}[segments]


def test_comments_in_any_letters_stay_whatever_the_machine_speaks(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_text((ROOT / "params.yaml").read_text() + "# größer …\n", encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-m", "pipeline", "plan", "2"], cwd=tmp_path, env=os.environ | plain, check=True)
    assert path.read_text(encoding="utf-8").endswith("# größer …\n") and len(params.read(path)["chain"]) == 2
