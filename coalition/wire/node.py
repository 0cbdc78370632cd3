"""Protocol 2: one node, all its workers, one request: the shapes of what both sides say."""

from __future__ import annotations

from msgspec import Struct

from coalition.wire.plain import MAXLOG, Count, ExitCode, Identity, Name, Seconds, ShortText, Text

NODE_PATH = "/workers/node"

LONGEST_WAIT = 20.0
"""Seconds a node's request is held open at most; below the idle limits of common proxies."""

PATIENCE = 0.2
"""Seconds after which a node gives back what was handed ahead to it and has not begun: its runs are
longer than the server thought."""


class Load(Struct, omit_defaults=True):
    """How busy a node is: `cpu` percent per core, memory in MB."""

    cpu: list[float] = []
    free_memory: Count = 0
    total_memory: Count = 0


class Host(Struct, omit_defaults=True):
    """What a node is; sent with the first report and whenever it changed."""

    hostname: ShortText = ""
    os: ShortText = ""
    cores: Count = 0
    memory: Count = 0
    """MB in all."""
    version: ShortText = ""


class Slot(Struct, omit_defaults=True):
    """One worker of a node: `run` is the run it has (0: idle). `affinity` is announced by -a.

    `last` is the highest run number it ever held; the server numbers on from there. One that is
    `resting` wants no job for now.
    """

    name: Name
    run: Count = 0
    last: Count = 0
    affinity: Text = ""
    resting: bool = False


class End(Struct, omit_defaults=True):
    """A run has ended. `code` is the exit code, negative for a signal.

    `again` asks for another try that does not count: the node had to end the run itself. `seconds`
    is how long it took, `clearing` for how long its worker was not free after that, for what was
    left of it had to be ended, and `ago` how long before the report that was done, all by the
    node's clock. `worker` is the one that had it, of which the server need not have heard before.
    It counts when all of its log has arrived, which has `size` bytes.
    """

    run: Count
    code: ExitCode = 0
    again: bool = False
    worker: ShortText = ""
    seconds: Seconds = 0
    ago: Seconds = 0
    clearing: Seconds = 0
    size: Count = 0


class Chunk(Struct):
    """Bytes of a run's log; `offset` is where they stand in what the run has written."""

    run: Count
    offset: Count
    data: bytes

    @property
    def end(self) -> int:
        """Where what the run wrote next stands."""
        return self.offset + len(self.data)


class Report(Struct, omit_defaults=True):
    """Node to server, POST /workers/node. Repeating a report is harmless."""

    node: Name
    workers: list[Slot]
    ends: list[End] = []
    logs: list[Chunk] = []
    load: Load | None = None
    host: Host | None = None
    wait: Seconds = 0
    """Seconds the node agrees to wait for news; 0 asks for an answer at once."""
    session: ShortText = ""
    """Random, and another one whenever the node's process is started."""
    previous: list[ShortText] = []
    """The sessions before this one, by the node's own folder: so it is no other of its name."""
    number: Count = 0
    """Counts the reports of a session: one that was overtaken by a later one is passed over."""
    ending: list[Count] = []
    """Runs that it was told to end and that are not gone yet."""
    unknown: list[Count] = []
    """Runs that it was told to end before it had heard of them: it will not begin them."""
    leaving: bool = False
    """No more work, please: idle workers are leaving, the running ones finish."""
    ahead: list[Count] = []
    """Runs handed ahead that the node still has, begun or not, beside those in workers and ends."""
    last: Count = 0
    """The highest number of a run that was ever handed ahead to this session."""
    farm: Identity = ""
    """Whose runs these are: the server of another farm refuses the report."""


class Start(Struct, omit_defaults=True):
    """Run this on that worker; `job` is the id that the command sees as COALITION_JOB_ID."""

    worker: str
    run: int
    job: int
    command: str
    dir: str = "."
    user: str = ""
    environment: str = ""
    exclusive: bool = False
    scratch: bool = False


class Ahead(Struct):
    """Runs for whichever of these workers is idle next, in this order."""

    workers: list[str]
    starts: list[Start]


class Orders(Struct, omit_defaults=True):
    """Server to node: the answer to a Report."""

    start: list[Start] = []
    kill: list[int] = []
    """Runs to end; their ends need not be reported."""
    drop: list[int] = []
    """Runs that were handed ahead and are wanted back, unless they have begun."""
    ended: list[int] = []
    """Runs whose ends are safe: forget them."""
    logs: dict[int, int] = {}
    """Run to the number of its log bytes that are safe: forget those."""
    wait: float = LONGEST_WAIT
    """Seconds the server will hold the next report at most."""
    ahead: list[Ahead] = []
    """Runs to begin without asking as soon as one of their workers is idle."""
    timeout: float = 60.0
    """Seconds of silence after which the server takes a worker for lost."""
    maxlog: int = MAXLOG
    """Bytes of a run's log that are kept as they are; of more the middle is left out."""
    drain: list[str] = []
    """Workers that take no more: the node leaves when all of its workers are such."""
    farm: Identity = ""
    """Which farm this is."""
