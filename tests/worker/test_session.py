"""A node shows its server that it is the one that was there before."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coalition.worker.session import KEPT, follow, is_copy


def test_each_life_of_a_node_knows_the_one_before_it(tmp_path: Path) -> None:
    assert [follow(tmp_path, one) for one in ("a", "b", "c")] == [[], ["a"], ["b", "a"]]
    for number in range(20):
        follow(tmp_path, f"session-{number}")
    assert len(follow(tmp_path, "last")) == KEPT


def test_the_copy_of_a_folder_is_another_node(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    follow(tmp_path / "one", "a")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert is_copy(tmp_path / "two") and not is_copy(tmp_path / "one")
    assert follow(tmp_path / "two", "b") == []
    assert not is_copy(tmp_path / "two")
    assert follow(tmp_path / "one", "c") == ["a"]


def test_what_cannot_be_read_or_written_does_not_keep_a_node_from_its_work(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "session").mkdir()
    assert follow(tmp_path, "a") == []
    assert "cannot be noted" in caplog.text
