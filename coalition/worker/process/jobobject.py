"""How a command is started on Windows, so that all that it starts can be ended.

A job object holds the process and its descendants; when its last handle is closed, be it because
worker.py was killed, the system ends them all.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from ctypes import wintypes
from typing import Any, Protocol, cast

import psutil

from coalition.worker.command.command import Command

CREATE_SUSPENDED = 0x4
"""From processthreadsapi.h: it starts nothing before it is in its job object."""

EXTENDED_LIMIT = 9
KILL_ON_JOB_CLOSE = 0x2000
"""JobObjectExtendedLimitInformation and JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE, from winnt.h."""

ENDED = 1
"""Exit code of what is ended by force; Windows has no signals that could tell."""


class Kept(Protocol):
    """A command that was started, with all that it starts."""

    pid: int

    def wait(self, timeout: float | None) -> int | None:
        """Wait for the end of its first process; return its exit code, None after `timeout`."""

    def ask(self) -> None:
        """Ask it to end."""

    def kill(self) -> None:
        """End all of it."""

    def close(self) -> None:
        """End all of it, and keep it no longer."""


class _BasicLimit(ctypes.Structure):
    _fields_ = [
        ("PerProcessUserTimeLimit", ctypes.c_int64),
        ("PerJobUserTimeLimit", ctypes.c_int64),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    ]


class _ExtendedLimit(ctypes.Structure):
    """JOBOBJECT_EXTENDED_LIMIT_INFORMATION, from winnt.h."""

    _fields_ = [
        ("BasicLimitInformation", _BasicLimit),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    ]


if sys.platform == "win32":
    _kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel.CreateJobObjectW.restype = wintypes.HANDLE
    _kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
    _kernel.SetInformationJobObject.argtypes = (
        wintypes.HANDLE,
        ctypes.c_int,
        wintypes.LPVOID,
        wintypes.DWORD,
    )
    _kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    _kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
    _kernel.CloseHandle.argtypes = (wintypes.HANDLE,)

    class JobObject:
        """A job object with a process in it that was started suspended."""

        def __init__(self, process: subprocess.Popen[bytes]) -> None:
            """Put the process into a new one and let it go; raises OSError."""
            self.pid = process.pid
            self._process = process
            self._handle = _checked(_kernel.CreateJobObjectW(None, None))
            try:
                limit = _ExtendedLimit()
                limit.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
                size = ctypes.sizeof(limit)
                _checked(
                    _kernel.SetInformationJobObject(
                        self._handle, EXTENDED_LIMIT, ctypes.byref(limit), size
                    )
                )
                inner = int(cast(Any, process)._handle)
                _checked(_kernel.AssignProcessToJobObject(self._handle, inner))
                psutil.Process(process.pid).resume()
            except BaseException:
                self.close()
                raise

        def wait(self, timeout: float | None) -> int | None:
            """Wait for the end of its first process; return its exit code, None in time."""
            with suppress(subprocess.TimeoutExpired):
                return self._process.wait(timeout)
            return None

        def ask(self) -> None:
            """Ask it to end, as ctrl-break does; without a console it does not hear that."""
            with suppress(OSError):
                self._process.send_signal(signal.CTRL_BREAK_EVENT)

        def kill(self) -> None:
            """End all of it."""
            if self._handle:
                _kernel.TerminateJobObject(self._handle, ENDED)

        def close(self) -> None:
            """End all of it, and keep it no longer."""
            if self._handle:
                _kernel.CloseHandle(self._handle)
                self._handle = None

    def _checked(result: Any) -> Any:
        if not result:
            raise ctypes.WinError(ctypes.get_last_error())
        return result


def begin(command: Command, environ: Mapping[str, str], output: int) -> Kept:
    """Start a command that writes to the descriptor `output`; raises OSError and ValueError.

    `environ` is what it inherits.
    """
    if sys.platform == "win32":
        process = subprocess.Popen(
            command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=command.directory,
            env={**environ, **command.variables},
            creationflags=subprocess.CREATE_NEW_PROCESS_GROUP | CREATE_SUSPENDED,
        )
        try:
            return JobObject(process)
        except BaseException:
            process.kill()
            raise
    else:
        raise OSError("only Windows has job objects")
