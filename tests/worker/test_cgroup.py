"""Where a process finds its control group."""

from __future__ import annotations

from pathlib import Path

import pytest

from coalition.worker.process.cgroup import Cgroups, _places
from tests.worker.commands import needs_cgroups
from tests.worker.real import in_reactor

V1 = "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"


@pytest.mark.parametrize(
    ("mounted", "groups", "own"),
    [
        ("/ /sys/fs/cgroup", "0::/user.slice/a.scope\n", "/sys/fs/cgroup/user.slice/a.scope"),
        ("/ /sys/fs/cgroup/unified", "9:name=systemd:/\n0::/\n", "/sys/fs/cgroup/unified"),
        ("/docker/12 /sys/fs/cgroup", "0::/docker/12/b\n", "/sys/fs/cgroup/b"),
        ("/ /a\\040b", "0::/c\n", "/a b/c"),
        ("/docker/12 /sys/fs/cgroup", "0::/docker/123\n", None),
        ("/ /sys/fs/cgroup", "0::/../outside\n", None),
        ("/ /sys/fs/cgroup", "5:memory:/\n", None),
    ],
)
def test_a_process_finds_its_control_group(mounted: str, groups: str, own: str | None) -> None:
    mounts = f"{V1}41 31 0:38 {mounted} rw,relatime shared:9 - cgroup2 cgroup2 rw\n"
    found = _places(mounts, groups)[1]
    assert found == (None if own is None else Path(own))


def test_where_there_are_no_control_groups_nothing_is_missed() -> None:
    assert _places(V1, "9:memory:/\n") == _places("", "") == (None, None)


@needs_cgroups
def test_a_node_removes_its_control_groups_and_no_others() -> None:
    ours, others = Cgroups("ours"), Cgroups("others")
    made, left = ours.make(1), others.make(1)
    in_reactor(ours.end_old)
    assert Path(made).exists()
    in_reactor(Cgroups("ours").end_old)
    assert not Path(made).exists()
    assert Path(left).exists()
    others.remove()
    assert not Path(left).exists()
