"""A network of hosts for the acceptance tests: network namespaces that live as long as a test."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

CLONE_NEWNET = 0x40000000
"""From linux/sched.h."""

NOBODY = "02:00:00:00:00:99"
"""A hardware address that no host of the network has."""


class Network:
    """A bridge with hosts that have addresses of one network, and no way out of it."""

    def __init__(self, *hosts: str) -> None:
        """Have nothing yet; `hosts` are short names."""
        self._mark = uuid.uuid4().hex[:8]
        self._addresses = {name: f"10.77.0.{n}" for n, name in enumerate(hosts, 1)}
        self._made: list[str] = []

    def build(self) -> None:
        """Make it; what was made when that fails is still to be removed."""
        self._make("switch")
        self._ip("switch", "link add br0 type bridge")
        self._ip("switch", "link set br0 up")
        for name, address in self._addresses.items():
            self._make(name)
            peer = f"peer name to-{name} netns {self._space('switch')}"
            self._ip(name, f"link add eth0 type veth {peer}")
            self._ip("switch", f"link set to-{name} master br0 up")
            self._ip(name, f"addr add {address}/24 brd + dev eth0")
            self._ip(name, "link set eth0 up")

    def address(self, host: str) -> str:
        """Return the address of a host."""
        return self._addresses[host]

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """Be on a host until the block is left: sockets and programs made in it are there."""
        with open("/proc/thread-self/ns/net") as before:
            with open(f"/run/netns/{self._space(host)}") as there:
                _enter(there.fileno())
            try:
                yield
            finally:
                _enter(before.fileno())

    def cut(self, host: str) -> None:
        """Unplug a host: nothing comes and nothing goes."""
        self._ip("switch", f"link set to-{host} down")

    def silence(self, host: str, towards: str) -> None:
        """Lose all that a host sends to another; the other direction is as it was."""
        self._ip(
            host, f"neigh replace {self.address(towards)} lladdr {NOBODY} dev eth0 nud permanent"
        )

    def mend(self, host: str, towards: str) -> None:
        """End whatever was cut between two hosts."""
        self._ip("switch", f"link set to-{host} up")
        for one, other in ((host, towards), (towards, host)):
            self._ip(one, f"neigh flush {self.address(other)} dev eth0 nud permanent")

    def remove(self) -> None:
        """Remove it; what was started in it is ended before."""
        for space in self._made:
            subprocess.run(["ip", "netns", "del", space], check=False)

    def _space(self, host: str) -> str:
        return f"coalition-{self._mark}-{host}"

    def _make(self, host: str) -> None:
        subprocess.run(["ip", "netns", "add", self._space(host)], check=True)
        self._made.append(self._space(host))
        self._ip(host, "link set lo up")

    def _ip(self, host: str, words: str) -> None:
        subprocess.run(["ip", "-n", self._space(host), *words.split()], check=True)


def _enter(namespace: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(namespace, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def why_impossible() -> str:
    """Return why no such network can be made here, nothing if it can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "only root makes network namespaces"
    return "" if shutil.which("ip") else "there is no ip (iproute2)"


@contextmanager
def network(*hosts: str) -> Iterator[Network]:
    """Have a network until the block is left; the test is skipped where there can be none."""
    if reason := why_impossible():
        pytest.skip(reason)
    made = Network(*hosts)
    try:
        made.build()
        yield made
    finally:
        made.remove()
