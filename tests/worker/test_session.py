"""A node shows its server that it is the one that was there before."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition.worker.session import follow


def test_each_life_of_a_node_knows_the_one_before_it(tmp_path: Path) -> None:
    assert [follow(tmp_path, session) for session in ("a", "b", "c")] == ["", "a", "b"]


def test_what_cannot_be_read_or_written_does_not_keep_a_node_from_its_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "session").mkdir()
    assert follow(tmp_path, "a") == ""
    assert "cannot be noted" in caplog.text
