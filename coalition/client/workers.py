"""What the Python API can ask about workers, their runs and their affinities."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from coalition import wire
from coalition.client import lists
from coalition.client.http import Http
from coalition.client.jobs import SomeJob, id_of
from coalition.client.lists import PAGE
from coalition.client.shapes import Event, Worker, WorkerChanges

# For a type checker a mapping whose keys are texts is none whose keys are numbers or texts.
Numbered = Mapping[int, str] | Mapping[str, str] | Mapping[int | str, str]


class WorkerCalls:
    """The part of a connection that is about workers."""

    _http: Http

    def getWorkers(self) -> list[Worker]:
        """Return all workers; ``workers`` looks for some."""
        answer: list[Worker] = self._http.ask("GET", "/api/workers")
        return answer

    def workers(
        self,
        *,
        name: str | Iterable[str] | None = None,
        state: str | Iterable[str] | None = None,
        affinity: str | None = None,
        sort: str = "name",
        page: int = PAGE,
        **numbers: float,
    ) -> Iterator[Worker]:
        """Give the workers that have all of this, asked for ``page`` by page; see ``jobs``.

        ::

            silent = [worker["name"] for worker in farm.workers(state="TIMEOUT")]
        """
        exact = {"name": name, "state": state}
        columns = wire.Worker.__struct_fields__
        asked = lists.filters(exact, {"affinity": affinity}, numbers, columns)
        return lists.rows(self._http, "/api/workers", asked, page, sort, "name")

    def events(
        self,
        *,
        job: SomeJob | None = None,
        worker: str | Iterable[str] | None = None,
        howlong: float | None = None,
        sort: str = "",
        page: int = PAGE,
        **numbers: float,
    ) -> Iterator[Event]:
        """Give the runs of a job, of a worker, of the last ``howlong`` seconds; see ``jobs``."""
        exact = {"job": None if job is None else id_of(job), "worker": worker, "howlong": howlong}
        asked = lists.filters(exact, {}, numbers, wire.Event.__struct_fields__)
        return lists.rows(self._http, "/api/events", asked, page, sort)

    def editWorkers(self, edits: Mapping[str, WorkerChanges]) -> None:
        r"""Change workers, by name; an affinity has a line per set of words.

        ::

            farm.editWorkers({"node-1": {"affinity": "LINUX,GPU\nLINUX", "active": True}})
        """
        self._http.ask("POST", "/api/workers", edits)

    def startWorkers(self, names: str | Iterable[str]) -> None:
        """Let workers take jobs again."""
        self._http.ask("POST", "/api/startworkers", names_of(names))

    def stopWorkers(self, names: str | Iterable[str]) -> None:
        """Let workers take no more jobs, and end what they run."""
        self._http.ask("POST", "/api/stopworkers", names_of(names))

    def pauseWorkers(self, names: str | Iterable[str]) -> None:
        """Let workers take no more jobs; what they run goes on."""
        self._http.ask("POST", "/api/pauseworkers", names_of(names))

    def drainWorkers(self, names: str | Iterable[str]) -> None:
        """Let workers take no more jobs, and leave when what they run is done."""
        self._http.ask("POST", "/api/drainworkers", names_of(names))

    def deleteWorkers(self, names: str | Iterable[str]) -> None:
        """Forget workers."""
        self._http.ask("DELETE", "/api/workers", names_of(names))

    def getAffinities(self) -> dict[str, str]:
        """Return the named affinities by number."""
        answer: dict[str, str] = self._http.ask("GET", "/api/affinities")
        return answer

    def setAffinities(self, names: Numbered) -> None:
        """Name affinities by number."""
        self._http.ask("POST", "/api/affinities", names)


def names_of(names: str | Iterable[str]) -> list[str]:
    """Return the names of one worker or many."""
    return [names] if isinstance(names, str) else list(names)
