"""The runs that a node has, by worker, and what of them a report tells."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice

from coalition.worker.node.actions import Cut
from coalition.worker.node.run import Run

REPORT_LIMIT = 1024 * 1024
"""Bytes of log in a report: small enough that a server reads it without noticing."""

LEAST_ROOM = 32 * 1024
"""The same where a proxy before the server takes no large requests."""


class Held:
    """Runs from their start until the server has acknowledged their ends."""

    def __init__(self) -> None:
        """Have none."""
        self._runs: dict[int, Run] = {}
        self._of: dict[str, dict[int, Run]] = {}  # in the order in which the worker has them
        self._queues: dict[str, dict[int, Run]] = {}  # those that are alive, in the same order
        self._fresh: dict[int, Run] = {}  # those that may have something to tell
        self._room = REPORT_LIMIT

    def __contains__(self, number: int) -> bool:
        return number in self._runs

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    def __getitem__(self, number: int) -> Run:
        return self._runs[number]

    def get(self, number: int) -> Run | None:
        """Return a run, or None."""
        return self._runs.get(number)

    def add(self, run: Run) -> None:
        """Have one more, behind those that its worker has."""
        self._runs[run.number] = self._fresh[run.number] = run
        self._of.setdefault(run.worker, {})[run.number] = run
        if run.alive:
            self._queues.setdefault(run.worker, {})[run.number] = run

    def end(self, run: Run) -> None:
        """Note that a run's processes are gone."""
        run.alive = False
        self._queues[run.worker].pop(run.number, None)

    def touch(self, run: Run) -> None:
        """Note that a run may have something new to tell."""
        self._fresh[run.number] = run

    def remove(self, run: Run) -> None:
        """Forget a run."""
        del self._runs[run.number], self._of[run.worker][run.number]
        self._queues.get(run.worker, {}).pop(run.number, None)
        self._fresh.pop(run.number, None)

    def of(self, worker: str) -> Collection[Run]:
        """Return the runs of a worker, the first one first."""
        return self._of.get(worker, {}).values()

    def queue(self, worker: str) -> Collection[Run]:
        """Return the queue of a worker: the run whose processes go, and those behind it."""
        return self._queues.get(worker, {}).values()

    def any_alive(self) -> bool:
        """Say whether something stands in any queue."""
        return any(self._queues.values())

    def any_leased(self) -> bool:
        """Say whether an exclusive run lives, whose lease each answer moves."""
        return any(run.exclusive and run.alive for run in self._runs.values())

    def any_queued(self) -> bool:
        """Say whether a run stands behind another."""
        return any(len(queue) > 1 for queue in self._queues.values())

    def queued(self) -> list[Run]:
        """Return the runs that stand behind others, which have not begun."""
        return [run for queue in self._queues.values() for run in islice(queue.values(), 1, None)]

    def handed(self) -> list[int]:
        """Return the runs that were handed ahead, begun or not."""
        return [run.number for run in self._runs.values() if run.handed_at is not None]

    def waiting_since(self) -> Iterator[float | None]:
        """Give since when the first one behind the one that runs waits, of each worker."""
        for queue in self._queues.values():
            for run in islice(queue.values(), 1, 2):
                if not run.dropped:
                    yield run.handed_at

    def any_waiting(self) -> bool:
        """Say whether there is something that no report has brought on its way."""
        while self._fresh:
            number, run = next(iter(self._fresh.items()))
            if run.waiting:
                return True
            del self._fresh[number]
        return False

    # --- what a report tells ------------------------------------------------------------------

    def cut_logs(self) -> list[Cut]:
        """Cut what goes into the next report, and note it as sent."""
        room = self._room
        cuts = []
        for run in [run for run in self._runs.values() if run.size > run.safe]:
            cut = run.take(room)
            if run.killed or not cut.length:
                continue
            cuts.append(cut)
            room -= cut.length
            run.sent = cut.offset + cut.length
            # To the back of the queue: with many floods at once everyone gets a turn.
            self._runs[run.number] = self._runs.pop(run.number)
        return cuts

    def ending(self, cuts: Iterable[Cut]) -> list[Run]:
        """Return the runs whose ends the report with these cuts tells, and note them as told.

        As a rule the rest of their logs is in it, too. A worker's runs end one after the other
        there as well: an end waits for those before it.
        """
        upto = {cut.run: cut.offset + cut.length for cut in cuts}
        ended = []
        for runs in self._of.values():
            for run in runs.values():
                whole = upto.get(run.number, run.safe) == run.size
                if not run.saved or not (whole or run.early):
                    break
                run.told = True
                ended.append(run)
        return ended

    def current(self, worker: str, reported: Collection[int]) -> int:
        """Return the run that a worker has, besides those whose ends are reported; 0: none."""
        others = (run.number for run in self.of(worker) if run.number not in reported)
        return next(others, 0)

    def acknowledge(
        self, upto: Mapping[int, int], logs: Mapping[int, int], *, newest: bool
    ) -> bool:
        """Note what the server has of the logs, sent up to `upto`; say whether that is more."""
        moved = False
        for number in upto.keys() | logs.keys():
            run = self._runs.get(number)
            if run is None:
                continue
            safe = min(logs.get(number, run.safe), run.size)
            moved = moved or safe > run.safe
            # Only the newest answer may take something back; an old one merely came late.
            run.safe = safe if newest else max(safe, run.safe)
            if safe < upto.get(number, 0):
                run.sent = run.safe
                self.touch(run)
            run.sent = max(run.sent, run.safe)
        return moved

    def shrink(self) -> None:
        """Put less into reports: one was too large."""
        self._room = max(LEAST_ROOM, self._room // 2)

    def grow(self) -> None:
        """Put a little more into reports again: one was taken."""
        self._room = min(REPORT_LIMIT, self._room + LEAST_ROOM)

    def send_again(self) -> None:
        """Note that what was sent may not have arrived."""
        for run in self._runs.values():
            run.sent = run.safe
            self.touch(run)
