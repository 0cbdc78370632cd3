"""The field names of the REST API and of the worker protocols, and the shapes that check them.

Nothing else spells a field of a request or an answer. A request is decoded straight into one of
these types by msgspec, which refuses wrong types with the path of the offending field; answers are
written from them; and the API's document is made of them.
"""

from coalition.wire.crew import AFFINITIES, Names, Worker, WorkerEdit
from coalition.wire.jobs import (
    READ_ONLY_JOB_FIELDS,
    AffinityOfJobs,
    Created,
    CreatedJobs,
    Dependencies,
    Dependency,
    Environment,
    Event,
    Ids,
    Job,
    JobEdit,
    JobWithDependencies,
    NewJob,
    NewJobs,
    PriorityOfJobs,
    StateOfJobs,
    StateToSet,
    UserOfJobs,
    WorkerOfJobs,
)
from coalition.wire.node import (
    LONGEST_WAIT,
    NODE_PATH,
    PATIENCE,
    Ahead,
    Chunk,
    End,
    Host,
    Load,
    Orders,
    Report,
    Slot,
    Start,
)
from coalition.wire.plain import (
    DISCOVERY_ANSWER,
    DISCOVERY_QUESTION,
    FOLDER,
    IDENTITY,
    LONGEST_NAME,
    LONGEST_TEXT,
    MAXLOG,
    PORT,
    PRIORITY,
    Count,
    Done,
    ExitCode,
    Flag,
    Identity,
    Name,
    Seconds,
    ShortText,
    Text,
)
from coalition.wire.state import API, Changed, ErrorAnswer, ErrorBody, Health, Version

__all__ = [
    "AFFINITIES", "API", "DISCOVERY_ANSWER", "DISCOVERY_QUESTION", "FOLDER", "IDENTITY",
    "LONGEST_NAME", "LONGEST_TEXT", "LONGEST_WAIT", "MAXLOG", "NODE_PATH", "PATIENCE", "PORT",
    "PRIORITY", "READ_ONLY_JOB_FIELDS", "AffinityOfJobs", "Ahead", "Changed", "Chunk", "Count",
    "Created", "CreatedJobs", "Dependencies", "Dependency", "Done", "End", "Environment",
    "ErrorAnswer", "ErrorBody", "Event", "ExitCode", "Flag", "Health", "Host", "Identity", "Ids",
    "Job", "JobEdit", "JobWithDependencies", "Load", "Name", "Names", "NewJob", "NewJobs", "Orders",
    "PriorityOfJobs", "Report", "Seconds", "ShortText", "Slot", "Start", "StateOfJobs",
    "StateToSet", "Text", "UserOfJobs", "Version", "Worker", "WorkerEdit", "WorkerOfJobs",
]  # fmt: skip
