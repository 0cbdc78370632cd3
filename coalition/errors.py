"""Every error Coalition raises on purpose: one tree, whose docstrings are the default messages.

`code` is the stable word a client may test for; the HTTP status that goes with a class stands in
`coalition.server.answers`.
"""

from __future__ import annotations

from typing import ClassVar


class CoalitionError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, message: str = "", **detail: object) -> None:
        """Say `message`, or what the docstring says; `detail` is what a program may read."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        self.detail = detail


class ConfigError(CoalitionError):
    """A setting is wrong."""

    code = "config"


class Refused(CoalitionError):
    """The request cannot be carried out; nothing was changed."""

    code = "refused"


class CommandRefused(Refused):
    """The white list of this server has no such command."""

    code = "command_refused"


class BadRequest(Refused):
    """The request is malformed."""

    code = "bad_request"


class TooLarge(Refused):
    """The request is larger than the server takes."""

    code = "too_large"


class TargetTooLong(Refused):
    """The address is longer than the server takes."""

    code = "target_too_long"


class HeaderTooLarge(Refused):
    """The header is larger than the server takes."""

    code = "header_too_large"


class TooSlow(Refused):
    """The request comes too slowly."""

    code = "too_slow"


class UnknownRoute(Refused):
    """There is no such address on this server."""

    code = "unknown_route"


class Gone(Refused):
    """This address is no longer served."""

    code = "gone"


class WrongMethod(Refused):
    """This address does not take that method."""

    code = "wrong_method"


class Unauthorized(Refused):
    """The server does not know who asks."""

    code = "unauthorized"


class Forbidden(Refused):
    """Whoever asks may not do that."""

    code = "forbidden"


class Unknown(Refused):
    """The request names something that does not exist."""

    code = "unknown"


class UnknownJob(Unknown):
    """There is no such job."""

    code = "unknown_job"


class UnknownWorker(Unknown):
    """There is no such worker."""

    code = "unknown_worker"


class UnknownParent(Unknown):
    """There is no such parent."""

    code = "unknown_parent"


class UnknownDependency(Unknown):
    """There is no such dependency."""

    code = "unknown_dependency"


class NameTaken(Refused):
    """Another node has this name."""

    code = "name_taken"


class OtherFarm(Refused):
    """This is the server of another farm."""

    code = "other_farm"


class NotAGroup(Refused):
    """A job that has run or is running cannot become a group."""

    code = "not_a_group"


class Cycle(Refused):
    """The jobs would wait for each other for ever."""

    code = "cycle"


class IllegalMove(Refused):
    """A job in this state cannot do that."""

    code = "illegal_move"


class NoInstance(Refused):
    """The worker runs on no instance that this server has started."""

    code = "no_instance"


class Unavailable(CoalitionError):
    """The server cannot do this at the moment; try again."""

    code = "unavailable"


class LogUnusable(CoalitionError):
    """The file of a job's log cannot be read or written; somebody has to mend that."""

    code = "log_unusable"


class NotDurable(Unavailable):
    """The database does not take the change; it is kept and written as soon as that can be."""

    code = "not_durable"


class StoreError(CoalitionError):
    """The database cannot be used."""

    code = "store"


class StoreBusy(StoreError):
    """Another server uses this database."""

    code = "store_busy"


class StoreUnavailable(StoreError):
    """The database does not answer or is full; the same write may succeed later."""

    code = "store_unavailable"


class ServerUnreachable(CoalitionError):
    """The server does not answer."""

    code = "server_unreachable"


class Unanswered(CoalitionError):
    """The answer of the server was lost: nobody knows whether it has done what it was asked."""

    code = "unanswered"


class TimedOut(CoalitionError, TimeoutError):
    """The jobs have not ended in time; they go on."""

    code = "timed_out"
