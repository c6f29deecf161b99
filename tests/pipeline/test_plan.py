"""The two blocks that say how many segments there are are rewritten together, and comments stay."""

import shutil

import pytest

from dasm.errors import ConfigError
from dasm.plugins import build
from pipeline import params, plan
from pipeline.study import Study
from tests.graph import ROOT


@pytest.mark.parametrize("segments", [1, 2, 7])
def test_blocks_agree_and_comments_stay(tmp_path, segments):
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.yaml", path)
    before = params.read(path)
    plan.main(str(segments), str(path))
    after = params.read(path)
    assert len(after["chain"]) == segments
    build(Study, after, "params.yaml")
    for k in range(min(segments, len(before["chain"]))):
        assert after["segment"][f"s{k}"] == before["segment"][f"s{k}"]
    rest = {key: value for key, value in before.items() if key not in ("chain", "segment")}
    assert {key: value for key, value in after.items() if key not in ("chain", "segment")} == rest
    comments = [line.split("#", 1)[1] for line in (ROOT / "params.yaml").read_text().splitlines() if "#" in line]
    assert all(comment in path.read_text() for comment in comments)


@pytest.mark.parametrize("segments", ["0", "-1", "two", "1.5"])
def test_no_segments_is_refused(tmp_path, segments):
    with pytest.raises(ConfigError, match="segments must be >= 1"):
        plan.main(segments, str(tmp_path / "params.yaml"))
