"""What the server has not acknowledged yet, in a folder: it survives a crash of the node.

What happens to a run, and short output, stands in the journal, which all runs share; longer output
has files of its own, `<run>.<offset>`, as far as the disk takes them.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from coalition.worker.outbox.disk import sync_file, sync_folder
from coalition.worker.outbox.entries import Begun, Ended, Entry, Forgotten, Output, Rest, Running
from coalition.worker.outbox.journal import LONG, Journal
from coalition.worker.outbox.spool import Space
from coalition.worker.outbox.stream import Stream

ENTRY = 200
"""Bytes that the journal has of a run beside its output, about."""

_FILE = re.compile(r"(\d+)(\.ring)?\.(\d+)")

log = logging.getLogger(__name__)


class Record(msgspec.Struct):
    """What is kept of a run; `code` is None until it has ended.

    `pid` and `started` (as psutil gives it) name its first process; 0 before there is one. It took
    `seconds` and was over at `ended_at`, by the wall clock: of a node that starts again it is the
    only one that goes on.
    """

    run: int
    job: int = 0
    worker: str = ""
    server: str = ""
    pid: int = 0
    started: float = 0.0
    code: int | None = None
    again: bool = False
    seconds: float = 0.0
    ended_at: float = 0.0


class Outbox:
    """The folder, for one server; only one process may have it.

    Everything is called in one thread but `sync`, which may be called in any. A run that was not
    begun, or is forgotten, has no output and takes none.
    """

    def __init__(self, folder: Path, limit: int, workers: int) -> None:
        """Open the folder, and make it if need be; `limit` is in bytes of output on disk.

        Raises OutboxUnreadable, OSError.
        """
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)  # the output of one user's jobs is not for another's
        self._folder = folder
        self._place = str(folder)
        self._space = Space.of(limit, workers)
        self._trim_at = limit // 2
        self._kept: dict[int, Record] = {}
        self._streams: dict[int, Stream] = {}
        self._dirty: list[str] = []  # files of ended runs that are not durable yet
        self._dirty_lock = threading.Lock()
        self._journal = Journal(folder, min(LONG, limit // 16))
        self._replay()
        self._journal.start(self._live())
        self._space.remove_some(len(self._space.doomed))
        self._left = [msgspec.structs.replace(self._kept[run]) for run in sorted(self._kept)]

    def close(self) -> None:
        """Close the files."""
        for stream in self._streams.values():
            stream.close()
        self._journal.close()
        self._space.remove_some(len(self._space.doomed))

    def records(self) -> list[Record]:
        """Return what an earlier life of the node left, oldest run first."""
        return self._left

    # --- what becomes of a run ---------------------------------------------------------------

    def begin(self, record: Record, maxlog: int) -> None:
        """Keep a run; beyond `maxlog` bytes of output the middle is left out."""
        # A server whose database was replaced starts at 1 again.
        self.forget(record.run)
        self._keep(record, maxlog)
        self._journal.add(_begun(record, maxlog))

    def running(self, run: int, pid: int, started: float) -> None:
        """Note a run's first process."""
        if record := self._kept.get(run):
            record.pid, record.started = pid, started
            self._journal.add(Running(run, pid, started))

    def end(self, run: int, code: int, again: bool, seconds: float, ended_at: float) -> int:
        """Note that a run is over and writes no more; return the size of its output.

        It is durable after `flush` and `sync`.
        """
        record, stream = self._kept.get(run), self._streams.get(run)
        if record is None or stream is None:
            return 0
        record.code, record.again = code, again
        record.seconds, record.ended_at = seconds, ended_at
        if paths := stream.finish():
            with self._dirty_lock:
                self._dirty += paths
        self._journal.add(Ended(run, code, again, seconds, ended_at, stream.size))
        return stream.size

    def forget(self, run: int) -> None:
        """Delete what is kept of a run."""
        if stream := self._streams.pop(run, None):
            del self._kept[run]
            stream.remove()
            self._journal.add(Forgotten(run))

    # --- its output --------------------------------------------------------------------------

    def append(self, run: int, output: bytes) -> int:
        """Add to a run's output; return its size. The disk may be full: see Stream."""
        stream = self._streams.get(run)
        if stream is None:
            return 0
        stream.append(output)
        if self._space.on_disk > self._trim_at:
            self._trim()
        return stream.size

    def say(self, run: int, text: str) -> int:
        """Add a line of our own to a run's output, marked by a star; return the output's size."""
        stream = self._streams.get(run)
        if stream is None:
            return 0
        stream.say(text)
        return stream.size

    def acknowledged(self, run: int, upto: int) -> None:
        """Note how much of a run's output the server has: for now, it may ask for it again."""
        if stream := self._streams.get(run):
            stream.acknowledge(upto)
            if self._space.on_disk > self._space.limit // 2:
                stream.trim()

    def read(self, run: int, offset: int, length: int) -> bytes:
        """Return a piece of a run's output, less than `length` when there is not so much.

        Raises Shortage when it is there and cannot be read at the moment.
        """
        stream = self._streams.get(run)
        return b"" if stream is None else stream.read(offset, length)

    def size(self, run: int) -> int:
        """Return the size of a run's output in bytes."""
        stream = self._streams.get(run)
        return 0 if stream is None else stream.size

    def backlog(self, run: int) -> int:
        """Return how many bytes of it the server has not acknowledged."""
        stream = self._streams.get(run)
        return 0 if stream is None else stream.backlog

    def is_behind(self, run: int) -> bool:
        """Say whether a run should write no more until the server has some of its output."""
        stream = self._streams.get(run)
        return stream is not None and (
            stream.backlog > self._space.quota // 2
            or stream.held > self._most_held()
            or stream.overflows()
        )

    def has_caught_up(self, run: int) -> bool:
        """Say whether such a run may write again."""
        stream = self._streams.get(run)
        return stream is None or (
            stream.backlog < self._space.quota // 4
            and stream.held < self._most_held() // 2
            and not stream.overflows()
        )

    def _most_held(self) -> int:
        """Return how much of a run may be held before it is held up: less when there are many."""
        space = self._space
        return min(space.held // 16, space.held_in_all // 4 // max(1, len(self._streams)))

    def _trim(self) -> None:
        for stream in self._streams.values():
            stream.trim()
        # Not again for every byte, when nothing could be deleted.
        self._trim_at = max(self._space.limit // 2, self._space.on_disk + self._space.segment)

    # --- the disk ----------------------------------------------------------------------------

    def flush(self) -> None:
        """Hand to the system what gathered; what it does not take waits for the next time."""
        self._journal.flush()
        if self._journal.is_due(self._space.in_memory + ENTRY * len(self._kept)):
            self._journal.rewrite(self._live())
        if self._space.doomed:
            self._space.remove_some()

    def sync(self) -> None:
        """Return when all ends that were flushed before are durable, with their output.

        Blocks; may be called in a thread of its own. Raises OSError.
        """
        with self._dirty_lock:
            paths, self._dirty = self._dirty, []
        failed = _synced(paths)
        if paths:
            sync_folder(self._folder)
        with self._dirty_lock:
            self._dirty += failed
        if failed:
            raise failed[next(iter(failed))]
        self._journal.sync()

    # --- an earlier life ---------------------------------------------------------------------

    def _keep(self, record: Record, maxlog: int) -> None:
        self._kept[record.run] = record
        self._streams[record.run] = Stream(
            record.run, maxlog, self._place, self._space, self._journal
        )

    def _replay(self) -> None:
        sizes: dict[int, int] = {}
        for entry in self._journal.found:
            match entry:
                case Begun(run, job, worker, server, maxlog):
                    self._keep(Record(run, job, worker, server), maxlog)
                    sizes.pop(run, None)
                case Forgotten(run):
                    del self._kept[run], self._streams[run]
                case Running(run, pid, started):
                    record = self._kept[run]
                    record.pid, record.started = pid, started
                case Output(run, data):
                    self._streams[run].head += data
                case Rest(run, data):
                    self._streams[run].rest = data
                case Ended(run, code, again, seconds, ended_at, size):
                    record = self._kept[run]
                    record.code, record.again = code, again
                    record.seconds, record.ended_at = seconds, ended_at
                    sizes[run] = size
        self._find_files(sizes)

    def _find_files(self, sizes: dict[int, int]) -> None:
        found: dict[tuple[int, bool], dict[int, int]] = {}
        for path in self._folder.iterdir():
            if match := _FILE.fullmatch(path.name):
                run, is_ring, offset = int(match[1]), match[2] is not None, int(match[3])
                if run in self._streams:
                    found.setdefault((run, is_ring), {})[offset] = path.stat().st_size
                else:
                    self._space.doomed[str(path)] = None
        for run, stream in self._streams.items():
            spool, rest = found.get((run, False), {}), found.get((run, True), {})
            stream.found(sizes.get(run, 0), spool, rest)
            if run in sizes:
                self._dirty += stream.paths()

    def _live(self) -> Iterator[Entry]:
        """Return what a journal has to say that says no more than needed."""
        for run, record in self._kept.items():
            stream = self._streams[run]
            yield _begun(record, stream.maxlog)
            if record.pid:
                yield Running(run, record.pid, record.started)
            if stream.head:
                yield Output(run, bytes(stream.head))
            if stream.rest:
                yield Rest(run, stream.rest)
            if record.code is not None:
                yield Ended(
                    run, record.code, record.again, record.seconds, record.ended_at, stream.size
                )


def _begun(record: Record, maxlog: int) -> Begun:
    return Begun(record.run, record.job, record.worker, record.server, maxlog)


def _synced(paths: Iterable[str]) -> dict[str, OSError]:
    """Make files durable; return those that failed, with the reason."""
    failed = {}
    for path in paths:
        try:
            # A file that is gone belongs to a run that the server has acknowledged.
            with contextlib.suppress(FileNotFoundError), open(path, "r+b", buffering=0) as file:
                sync_file(file.fileno())
        except OSError as error:
            failed[path] = error
    return failed
