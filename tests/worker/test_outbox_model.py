"""An outbox against what may happen to it, in any order."""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from coalition.worker.outbox import spool
from coalition.worker.outbox.outbox import Outbox, Record

LIMIT = 4096
"""Two workers have 2048 bytes each; head, segment, ring, held and rest are 512 bytes, a journal
256."""

PATTERN = b"".join(b"%05d," % n for n in range(20_000))
"""What every run writes: each piece tells its place, and there is no newline."""

LEFT_OUT = re.compile(
    rb"(?:^|\n|(?<=\n))\* (\d+) bytes of output (?:were left out|are missing) here\n"
)

REFUSALS = st.sampled_from([0, 0, 1, 2, 3, 1_000_000])


@dataclass
class Told:
    """What an outbox was told about a run."""

    written: int = 0
    ended: bool = False
    flushed: bool = False
    sure: bool = False
    forgotten: bool = False


def check_output(stream: bytes, written: int) -> None:
    """The pieces of what was written follow each other, and the end is there."""
    assert stream.count(b"*") == len(LEFT_OUT.findall(stream))
    first, *rest = LEFT_OUT.split(stream)
    assert PATTERN.startswith(first)
    at = len(first)
    for number, piece in zip(rest[::2], rest[1::2], strict=True):
        at += int(number)
        assert PATTERN[at : at + len(piece)] == piece
        at += len(piece)
    assert at == written


class AnyLife(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.place = tempfile.TemporaryDirectory()
        self.lives = 0
        self.told: dict[int, Told] = {}
        self.durable: dict[str, int] = {}
        self.refusals = 0  # writes of output that the disk does not take, from now on
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(spool, "FileIO", self.file)
        self.open(self.folder)

    @property
    def folder(self) -> Path:
        return Path(self.place.name) / str(self.lives)

    def open(self, folder: Path) -> None:
        self.outbox = Outbox(folder, LIMIT, 2)
        self.note_durable("journal.*")

    def note_durable(self, files: str) -> None:
        self.durable |= {path.name: path.stat().st_size for path in self.folder.glob(files)}

    def file(self, path: str, mode: str) -> FileIO:
        """Open a file of output; of one that the disk refuses, it takes nothing."""
        model = self

        class File(FileIO):
            def write(self, data: object) -> int:
                if model.refusals:
                    model.refusals -= 1
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return super().write(data)  # type: ignore[arg-type]

        return File(path, mode)

    def some(self, data: st.DataObject, *, running: bool = False) -> int:
        return data.draw(st.sampled_from(self.running if running else self.live))

    @property
    def running(self) -> list[int]:
        return [run for run in self.live if not self.told[run].ended]

    @property
    def live(self) -> list[int]:
        return [run for run, told in self.told.items() if not told.forgotten]

    def stream(self, run: int) -> bytes:
        return self.outbox.read(run, 0, self.outbox.size(run))

    # --- what a node does ----------------------------------------------------------------------

    @rule(maxlog=st.sampled_from([100, 3_000, 10**9]))
    def begin(self, maxlog: int) -> None:
        run = len(self.told) + 1
        self.told[run] = Told()
        self.outbox.begin(Record(run), maxlog)
        self.flush()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), length=st.integers(1, 1_500))
    def append(self, data: st.DataObject, length: int) -> None:
        run = self.some(data, running=True)
        told = self.told[run]
        size = self.outbox.append(run, PATTERN[told.written : told.written + length])
        told.written += length
        assert size == self.outbox.size(run)

    @precondition(lambda self: self.running)
    @rule(
        data=st.data(),
        pieces=st.lists(st.integers(1, 600), min_size=2, max_size=8),
        refusals=REFUSALS,
    )
    def flood(self, data: st.DataObject, pieces: list[int], refusals: int) -> None:
        self.refusals = refusals
        run = self.some(data, running=True)
        told = self.told[run]
        for length in pieces:
            self.outbox.append(run, PATTERN[told.written : told.written + length])
            told.written += length

    @rule(lengths=st.lists(st.integers(0, 300), min_size=1, max_size=4))
    def do_short_runs(self, lengths: list[int]) -> None:
        for length in lengths:
            self.begin(10**9)
            run = len(self.told)
            self.outbox.append(run, PATTERN[:length])
            self.outbox.end(run, run, False, 1.0, 2.0)
            self.told[run].written, self.told[run].ended = length, True
        self.flush()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), refusals=REFUSALS)
    def end(self, data: st.DataObject, refusals: int) -> None:
        self.refusals = refusals
        run = self.some(data, running=True)
        told = self.told[run]
        assert self.outbox.end(run, run, False, 1.0, 2.0) == self.outbox.size(run)
        told.ended = True
        stream = self.stream(run)
        if b"bytes were lost here" not in stream:
            check_output(stream, told.written)

    @rule(keep=st.integers(0, 3))
    def forget_most(self, keep: int) -> None:
        for run in self.live[keep:]:
            if self.told[run].ended:
                self.outbox.forget(run)
                self.told[run].forgotten = True

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        run = self.some(data)
        upto = data.draw(st.integers(0, self.outbox.size(run)))
        self.outbox.acknowledged(run, upto)
        assert self.outbox.backlog(run) == self.outbox.size(run) - upto

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        run = self.some(data)
        stream = self.stream(run)
        offset, length = data.draw(st.integers(0, len(stream))), data.draw(st.integers(0, 600))
        if b"bytes were lost here" not in stream:
            assert self.outbox.read(run, offset, length) == stream[offset : offset + length]

    @precondition(lambda self: self.live)
    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        run = self.some(data)
        self.outbox.forget(run)
        self.told[run].forgotten = True

    @rule(refusals=REFUSALS)
    def fill_disk(self, refusals: int) -> None:
        self.refusals = refusals

    @rule()
    def flush(self) -> None:
        self.outbox.flush()
        for run in self.live:
            self.told[run].flushed = self.told[run].ended

    @rule()
    def sync(self) -> None:
        self.outbox.sync()
        self.note_durable("journal.*")
        for run in self.live:
            told = self.told[run]
            told.sure = told.flushed
            if told.ended:
                self.note_durable(f"{run}.*")

    # --- what becomes of it --------------------------------------------------------------------

    @rule()
    def stop(self) -> None:
        known = {run: self.stream(run) for run in self.live}
        is_full = bool(self.refusals)
        self.outbox.close()
        self.open(self.folder)
        assert {record.run for record in self.outbox.records()} == set(known)
        for run, stream in known.items():
            cut_off = is_full and not self.told[run].ended
            assert stream.startswith(self.stream(run)) if cut_off else self.stream(run) == stream
        self.go_on()

    @rule()
    def kill(self) -> None:
        known = {run: self.stream(run) for run in self.live}
        self.copy()
        self.open(self.folder)
        self.check_sure(known)
        for record in self.outbox.records():
            if record.run in known:
                found = self.stream(record.run)
                assert known[record.run].startswith(found)
                assert record.code is None or found == known[record.run]
        self.go_on()

    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        known = {run: self.stream(run) for run in self.live}
        self.copy()
        for path in sorted(self.folder.iterdir()):
            size = path.stat().st_size
            left = data.draw(st.integers(min(self.durable.get(path.name, 0), size), size))
            with path.open("r+b") as file:
                file.truncate(left)
            if not left and data.draw(st.booleans()):
                path.unlink()
        self.open(self.folder)
        self.check_sure(known)
        for record in self.outbox.records():
            assert len(self.stream(record.run)) == self.outbox.size(record.run)
        self.go_on()

    def copy(self) -> None:
        """Keep the files as they are now: what the old life still does to its own is not seen."""
        old = self.folder
        self.lives += 1
        shutil.copytree(old, self.folder)
        self.outbox.close()

    def check_sure(self, known: dict[int, bytes]) -> None:
        found = {record.run: record.code for record in self.outbox.records()}
        for run, stream in known.items():
            if self.told[run].sure:
                assert found[run] == run
                assert self.stream(run) == stream

    def go_on(self) -> None:
        """The node gives up what had not ended; ends that were found are still to be reported."""
        found = {record.run: record for record in self.outbox.records()}
        for run, told in self.told.items():
            if run in found and (told.forgotten or found[run].code is None or not told.sure):
                self.outbox.forget(run)
            told.forgotten = told.forgotten or run not in found or not told.sure

    @invariant()
    def the_disk_has_room(self) -> None:
        waiting = sum(self.outbox.backlog(run) for run in self.live)
        # An end, what was held and what waited for the disk, with their lines.
        assert waiting <= LIMIT + 1_700 * len(self.live)

    def teardown(self) -> None:
        self.outbox.close()
        self.patch.undo()
        self.place.cleanup()


AnyLife.TestCase.settings = settings(max_examples=60, stateful_step_count=50)
test_whatever_happens_nothing_sure_is_lost = AnyLife.TestCase
