"""Finding jobs that would wait for each other for ever, through dependencies and the tree.

Each job is two points: its start and its finish. A start waits for the start of the group above and
for the finish of every dependency; a finish waits for the own start and for the finish of every
child. A cycle among these points is a deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coalition.core.model import Job
from coalition.errors import Cycle

SLICE = 1000
"""Points visited between two pauses: well under a millisecond."""

Point = tuple[Job, bool]  # (job, True: its finish, False: its start)


@dataclass
class Plan:
    """The tree as it would be: dependencies, parents and children that are not yet there."""

    dependencies: Mapping[int, Sequence[Job]]
    parents: Mapping[int, Job]
    changed: Iterable[Job]  # those that have new dependencies or a new parent
    children: dict[int, list[Job]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Note the ways down to what is changed: the groups do not count its links yet."""
        seen: set[int] = set()
        for job in self.changed:
            while job.id not in seen:
                seen.add(job.id)
                parent = self.parents.get(job.id, job.parent)
                if parent is None or not parent.id:
                    break
                self.children.setdefault(parent.id, []).append(job)
                job = parent

    def waits_for(self, point: Point) -> Iterator[Point]:
        """Give the points that this one waits for, leaving out those that wait for nothing."""
        job, finish = point
        if finish:
            yield job, False
            yield from ((child, True) for child in self._children(job))
            return
        parent = self.parents.get(job.id, job.parent)
        if parent is not None and parent.id:
            yield parent, False
        for dependency in self.dependencies.get(job.id, job.dependencies):
            yield dependency, True

    def _children(self, job: Job) -> Iterator[Job]:
        group = job.group
        if group is not None and group.links:
            # A copy: the search may be paused here while others add and delete children.
            for child in list(group.children.values()):
                linked = child.dependencies or (child.group is not None and child.group.links)
                if linked and self.parents.get(child.id, job) is job:
                    yield child
        yield from self.children.get(job.id, ())


def search(starts: Iterable[Job], plan: Plan) -> Iterator[None]:
    """Look for a cycle that can be reached from `starts`; raise Cycle, yielding now and then."""
    done: set[tuple[int, bool]] = set()
    visited = 0
    for start in starts:
        point: Point = (start, True)
        if (start.id, True) in done:
            continue
        path: dict[tuple[int, bool], Iterator[Point]] = {(start.id, True): plan.waits_for(point)}
        jobs = [start]
        while path:
            visited += 1
            if visited % SLICE == 0:
                yield
            key, coming = next(reversed(path.items()))
            for job, finish in coming:
                following = (job.id, finish)
                if following in path:
                    raise _cycle(jobs, job)
                if following not in done:
                    path[following] = plan.waits_for((job, finish))
                    jobs.append(job)
                    break
            else:
                done.add(key)
                path.popitem()
                jobs.pop()


def refuse_cycles(starts: Iterable[Job], plan: Plan) -> None:
    """Raise Cycle if the plan holds one that can be reached from `starts`."""
    for _ in search(starts, plan):
        pass


def _cycle(path: list[Job], again: Job) -> Cycle:
    first = next(i for i, job in enumerate(path) if job is again)
    ids: list[int] = []
    for job in path[first:]:
        if not ids or ids[-1] != job.id:
            ids.append(job.id)
    names = " -> ".join(str(id) for id in [*ids, again.id])
    return Cycle(f"the jobs would wait for each other for ever: {names}", jobs=ids)
