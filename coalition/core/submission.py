"""Jobs that are to be created together: all of them or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from coalition.core.changes import Changes
from coalition.core.cycles import Plan, search
from coalition.core.model import Job
from coalition.core.ready import Group
from coalition.core.tree import Tree, ancestors
from coalition.errors import UnknownDependency, UnknownParent

SLICE = 200
"""Jobs built between two pauses: a few milliseconds."""


class Submission:
    """A list of new jobs, each with its parent and dependencies, in or outside of the list."""

    def __init__(self) -> None:
        """Start with no jobs."""
        self.jobs: list[Job] = []
        self.parents: list[Job | int] = []
        self.dependencies: dict[Job, Sequence[Job | int]] = {}
        # Set by build(): for each parent outside, a group that stands nowhere and has its children.
        self.stand_ins: dict[int, Job] = {}
        self.closes = False  # whether a cycle could be closed, see _may_close_cycle()
        self.checked = -1  # Tree.links_version for which the links were found good

    def add(
        self,
        job: Job,
        parent: Job | int,
        dependencies: Sequence[Job | int] = (),
        *,
        is_group: bool = False,
    ) -> None:
        """Add a job after its parent: a Job of this submission, or the id of one in the farm."""
        if is_group or not job.command:
            job.group = Group()
        self.jobs.append(job)
        self.parents.append(parent)
        if dependencies:
            self.dependencies[job] = dependencies

    def build(self, tree: Tree) -> Iterator[None]:
        """Build the new trees beside the farm, in slices, so that adding them takes no time.

        Links to jobs of the farm are made already: unlink() takes them back, should it fail.
        """
        scratch = Tree(Changes())
        for number, (job, parent) in enumerate(zip(self.jobs, self.parents, strict=True)):
            if isinstance(parent, int):
                stand_in = self.stand_ins.get(parent)
                if stand_in is None:
                    stand_in = self.stand_ins[parent] = Job(parent)
                    stand_in.group = Group()
                parent = stand_in
            scratch.attach(parent, job)
            if number % SLICE == 0:
                yield
        for number, job in enumerate(self.dependencies):
            scratch.set_dependencies(job, self.resolved(job, tree))
            if number % SLICE == 0:
                yield

    def unlink(self) -> None:
        """Make the jobs of the farm forget those of a submission that has failed."""
        for job in self.dependencies:
            for dependency in job.dependencies:
                if dependency.dependents is not None:
                    dependency.dependents.pop(job.id, None)
                    dependency.dependents = dependency.dependents or None

    def check_parents(self, tree: Tree) -> None:
        """Raise UnknownParent or NotAGroup if the farm cannot hold these jobs."""
        for parent in {parent for parent in self.parents if isinstance(parent, int)}:
            if parent and parent not in tree.jobs:
                raise UnknownParent(f"there is no job {parent} to be the parent", field="parent")
            if parent:
                tree.check_can_hold(tree.jobs[parent])

    def check_links(self, tree: Tree) -> Iterator[None]:
        """Raise UnknownParent, UnknownDependency or Cycle where these are; yield now and then."""
        version = tree.links_version
        if self.checked == version or not self.dependencies:
            return
        self.check_parents(tree)
        wanted: dict[int, Sequence[Job]] = {
            job.id: self.resolved(job, tree) for job in self.dependencies
        }
        self.closes = self._may_close_cycle(tree)
        if self.closes:
            outer = self._outer_parents(tree)
            parents = {
                job.id: outer[parent] if isinstance(parent, int) else parent
                for job, parent in zip(self.jobs, self.parents, strict=True)
            }
            yield
            yield from search(self.dependencies, Plan(wanted, parents, self.dependencies))
        if version == tree.links_version:
            self.checked = version

    def _may_close_cycle(self, tree: Tree) -> bool:
        """Say whether anything can wait for these jobs: else their links close no cycle.

        So a long chain that is submitted job by job is not walked through for each of them.
        """
        inside = {job.id for job in self.jobs}
        wanted = {
            dependency if isinstance(dependency, int) else dependency.id
            for dependencies in self.dependencies.values()
            for dependency in dependencies
        }
        return not inside.isdisjoint(wanted) or any(
            group.dependents or group.id in wanted
            for parent in self._outer_parents(tree).values()
            for group in [parent, *ancestors(parent)]
        )

    def _outer_parents(self, tree: Tree) -> dict[int, Job]:
        return {p: tree.get(p) if p else tree.root for p in self.parents if isinstance(p, int)}

    def resolved(self, job: Job, tree: Tree) -> list[Job]:
        """Give what a job of this submission depends on, or raise UnknownDependency."""
        found: list[Job] = []
        for wanted in self.dependencies[job]:
            dependency = tree.jobs.get(wanted) if isinstance(wanted, int) else wanted
            if dependency is None:
                raise UnknownDependency(
                    f"there is no job {wanted} to depend on", field="dependencies"
                )
            found.append(dependency)
        return found
