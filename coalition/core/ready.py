"""The index of ready jobs: what a worker could be given, without ever scanning the jobs.

Every group keeps, per requirement of the ready jobs below it, a queue of its children in order of
(priority, id). A requirement is relative: it holds the words of everything below the group, not of
the group itself and what is above. A group is listed in its parent's queues under its inner
requirements joined with its own words, unless it is paused or waits for a dependency. So pausing,
re-ordering or moving a group touches its own few entries, whatever is below it.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Any

from coalition.core.affinity import LAST, LEASED, NO_WORDS, Line, Words, join
from coalition.core.model import Job
from coalition.core.states import WAITING

SLACK = 64
"""Entries a queue may hold beyond twice its children before it is rebuilt."""


class Queue:
    """The ready children of one group that share a requirement, best first.

    One heap of ids per priority. An entry is not removed when its job leaves the queue but when it
    comes to the top: whether an entry holds is read from the job.
    """

    __slots__ = ("children", "levels", "live", "size", "tops", "words")

    def __init__(self, words: Words, children: dict[int, Job]) -> None:
        """Make an empty queue over the children (id -> job) of a group."""
        self.words = words
        self.children = children
        self.live = 0  # children that are listed here
        self.size = 0  # entries, those that no longer hold included
        self.levels: dict[int, list[int]] = {}  # -priority -> heap of ids
        self.tops: list[int] = []  # heap of the keys of levels

    def push(self, job: Job) -> None:
        """Add a child that is not listed here."""
        key = -job.priority
        level = self.levels.get(key)
        if level is None:
            self.levels[key] = [job.id]
            heappush(self.tops, key)
        else:
            heappush(level, job.id)
        self.size += 1
        self.live += 1

    def holds(self, job: Job | None, key: int) -> bool:
        """Say whether an entry for `job` at the level `key` still stands."""
        return (
            job is not None
            and job.priority == -key
            and (job.queue is self or (job.group is not None and self in job.group.listed))
        )

    def first(self) -> Job | None:
        """Give the best child, or None when nothing is listed."""
        tops, levels, children = self.tops, self.levels, self.children
        while tops:
            key = tops[0]
            level = levels[key]
            while level:
                job = children.get(level[0])
                if self.holds(job, key):
                    return job
                heappop(level)
                self.size -= 1
            del levels[heappop(tops)]
        return None

    def shrink(self) -> None:
        """Drop the entries that no longer hold, once they are more than those that do."""
        if self.size <= 2 * self.live + SLACK:
            return
        kept: dict[int, list[int]] = {}
        for key, level in self.levels.items():
            ids = sorted({id for id in level if self.holds(self.children.get(id), key)})
            if ids:
                kept[key] = ids
        self.levels = kept
        self.tops = sorted(kept)
        self.size = sum(map(len, kept.values()))

    def swallow(self, other: Queue) -> None:
        """Take over the entries of another queue whose children are now this group's too."""
        for key, ids in other.levels.items():
            level = self.levels.setdefault(key, [])
            if not level:
                heappush(self.tops, key)
                level += ids
            elif ids[0] > level[-1] and ids == sorted(ids) and level == sorted(level):
                level += ids
            else:
                level += ids
                heapify(level)
        self.size += other.size
        self.live += other.live


class Group:
    """What a job has besides when it is a group: children, their queues, and its counters."""

    __slots__ = (
        "children",
        "errors",
        "finished",
        "links",
        "listed",
        "queues",
        "started",
        "total",
        "total_errors",
        "total_finished",
        "total_working",
        "working",
    )

    def __init__(self) -> None:
        """Make a group of nothing."""
        self.children: dict[int, Job] = {}
        self.queues: dict[Words, Queue] = {}
        # The parent's queues in which this group stands: how many inner requirements lead there.
        self.listed: dict[Queue, int] = {}
        self.working = self.errors = self.finished = 0  # children that are no groups
        self.total = self.total_working = self.total_errors = self.total_finished = 0  # all below
        self.started = 0  # jobs below that have a start time
        self.links = 0  # jobs and groups below that have dependencies


def is_open(node: Job) -> bool:
    """Say whether a group lets what is below it run, as far as it is concerned."""
    return not node.paused and not node.unmet


def settle(job: Job) -> None:
    """Bring a job that is not a group into the index or out of it, as its state demands."""
    if job.state == WAITING and not job.paused and job.claim is None:
        if job.queue is None and job.parent is not None:
            _enter(job)
    elif job.queue is not None:
        leave(job)


def _enter(job: Job) -> None:
    parent = job.parent
    assert parent is not None and parent.group is not None
    queue = _queue(parent.group, job.words)
    job.queue = queue
    queue.push(job)
    if queue.live == 1:
        _announce(parent, job.words)


def leave(job: Job) -> None:
    """Take a job out of the index, whatever its state."""
    queue = job.queue
    if queue is None:
        return
    job.queue = None
    queue.live -= 1
    if queue.live:
        queue.shrink()
        return
    parent = job.parent
    assert parent is not None and parent.group is not None
    del parent.group.queues[queue.words]
    _withdraw(parent, queue.words)


def close(node: Job) -> None:
    """Take an open group out of its parent's queues; call it before the group changes."""
    if node.group is not None and node.parent is not None and is_open(node):
        for words in node.group.queues:
            _withdraw(node, words)


def reopen(node: Job) -> None:
    """List an open group in its parent's queues; call it after the group has changed."""
    if node.group is not None and node.parent is not None and is_open(node):
        for words in node.group.queues:
            _announce(node, words)


def _queue(group: Group, words: Words) -> Queue:
    queue = group.queues.get(words)
    if queue is None:
        queue = group.queues[words] = Queue(words, group.children)
    return queue


def _announce(node: Job, words: Words) -> None:
    """A group has a new inner requirement: list it, and so on upwards."""
    while (parent := node.parent) is not None and is_open(node):
        assert node.group is not None and parent.group is not None
        words = join(words, node.words)
        queue = _queue(parent.group, words)
        listed = node.group.listed
        if queue in listed:
            listed[queue] += 1
            return
        listed[queue] = 1
        queue.push(node)
        if queue.live > 1:
            return
        node = parent


def _withdraw(node: Job, words: Words) -> None:
    """A group has lost an inner requirement: the reverse of `_announce`."""
    while (parent := node.parent) is not None and is_open(node):
        assert node.group is not None and parent.group is not None
        words = join(words, node.words)
        queue = parent.group.queues[words]
        listed = node.group.listed
        if listed[queue] > 1:
            listed[queue] -= 1
            return
        del listed[queue]
        queue.live -= 1
        if queue.live:
            queue.shrink()
            return
        del parent.group.queues[words]
        node = parent


def pick(root: Job, lines: tuple[Line, ...]) -> Job | None:
    """Give the job that a worker with these lines should run next, or None.

    The lines are tried in order, for jobs that have affinity; then the jobs that have none. To be
    exclusive is no affinity.
    """
    group = root.group
    assert group is not None
    if not group.queues:
        return None
    for line in lines:
        if line is LAST and LEASED not in group.queues:
            break
        job = _descend(root, line)
        if job is not None:
            return job
    return _descend_plain(root) if NO_WORDS in group.queues else None


Rank = tuple[Any, ...]
"""Where a job stands in the order of a worker's lines: the smaller one comes first."""


def rank(job: Job, lines: tuple[Line, ...]) -> Rank:
    """Give the rank of a job that a worker with these lines may have."""
    path: list[tuple[int, int]] = []
    words = NO_WORDS
    node: Job | None = job
    while node is not None and node.id:
        path.append((-node.priority, node.id))
        words = join(words, node.words)
        node = node.parent
    place = len(lines)
    if words and words != LEASED:
        place = next((i for i, line in enumerate(lines) if line.holds(words)), place)
    return (place, *reversed(path))


def _descend(node: Job, line: Line) -> Job | None:
    """Find the best job that has affinity and fits the line, its groups' words included.

    The last line is for those that have none.
    """
    bare = line is not LAST  # no word seen on the way down: the job still has to show one
    while (group := node.group) is not None:
        best: Job | None = None
        for words, queue in group.queues.items():
            if ((words and words != LEASED) or not bare) and line.holds(words):
                child = queue.first()
                assert child is not None
                if best is None or (child.priority, -child.id) > (best.priority, -best.id):
                    best = child
        if best is None:
            return None
        if best.words and best.words != LEASED:
            bare = False
        node = best
    return node


def _descend_plain(node: Job) -> Job:
    while (group := node.group) is not None:
        child = group.queues[NO_WORDS].first()
        assert child is not None
        node = child
    return node


def graft(source: Group, target: Job) -> None:
    """Give the children of a group that stands nowhere to `target`, queues and all.

    The cost is a few machine instructions per child, so that 100,000 can come at once.
    """
    group = target.group
    assert group is not None
    group.children.update(source.children)
    for job in source.children.values():
        job.parent = target
    for words, queue in source.queues.items():
        mine = group.queues.get(words)
        if mine is None:
            queue.children = group.children
            group.queues[words] = queue
            _announce(target, words)
            continue
        mine.swallow(queue)
        for job in source.children.values():
            if job.queue is queue:
                job.queue = mine
            elif job.group is not None and queue in job.group.listed:
                job.group.listed[mine] = job.group.listed.pop(queue)
