"""What a computer may lack for a while, which is neither a job's fault nor the server's."""

from __future__ import annotations

import errno

from coalition.errors import CoalitionError

_LACKING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""No more descriptors here, none on the whole computer, no memory, no more processes."""


class Shortage(CoalitionError):
    """This computer lacks what it takes, at the moment."""

    code = "shortage"


def is_shortage(error: BaseException) -> bool:
    """Say whether the same call may succeed later, when this computer is less busy."""
    return isinstance(error, MemoryError) or getattr(error, "errno", None) in _LACKING
