"""Commands that have asked to be traced by their parent, as a debugger's do."""

from __future__ import annotations

import signal
import sys

assert sys.platform != "win32"

PTRACE_DETACH = 17
"""From linux/ptrace.h."""

FOR_TRACER = (signal.SIGTRAP, signal.SIGSTOP)
"""Signals that it gets as it starts a program, or sends itself, for its tracer to see. The first
would end it, and after the second it would wait for somebody who never comes."""


def let_go(pid: int, number: int) -> None:
    """Have a process that has stopped for us at a signal go on, never to be traced again.

    It gets the signal, as it would have without its wish.
    """
    if sys.platform == "linux":
        import ctypes  # only now, for hardly a command does that

        passed = 0 if number in FOR_TRACER else number
        ctypes.CDLL(None).ptrace(PTRACE_DETACH, pid, None, ctypes.c_void_p(passed))
