"""What no test of the pipeline may do to the process that all of them run in."""

import pytest


@pytest.fixture(autouse=True)
def _outlives_its_parent(monkeypatch):
    monkeypatch.setattr("pipeline.__main__._die_with_parent", lambda: None)
