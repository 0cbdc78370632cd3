"""`make demo`: a server, a node and a small animation, on this computer alone.

It works in the folder demo-data beside server.py, which is emptied when it starts.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from types import FrameType

from coalition.cli import programs
from coalition.cli.programs import ROOT, Program, ProgramError, control
from coalition.wire import PORT

FOLDER = ROOT / "demo-data"
SCRIPT = ROOT / "examples" / "animation.py"
FILM = "film.webp"
FRAMES = 48
PROGRESS = "PROGRESS:%percent"

SETTINGS = """\
[server]
db_type=sqlite
# The node reads it too: this is the port at which it looks for the server.
port={port}
[worker]
# A broadcast that stays on this computer.
broadcast=127.255.255.255
workers={workers}
name=demo
"""


def main() -> int:
    """Run the demonstration; return 0, or 1 when a program or a job failed."""
    signal.signal(signal.SIGTERM, leave)
    try:
        with ExitStack() as started:
            return show(started)
    except ProgramError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
        return 0


def leave(_signal: int, _frame: FrameType | None) -> None:
    """Leave as after Ctrl-C, so that the programs are ended."""
    raise KeyboardInterrupt


def show(started: ExitStack) -> int:
    """Start the farm, render the film and say where it is; return the exit code."""
    port = choose_port()
    prepare(port)
    url = f"http://127.0.0.1:{port}"
    farm = start(started, port)
    print(f"The farm runs, look at it: {url}/", flush=True)
    root = submit(url)
    # Its progress bar goes to the terminal, which is why it is not run through control().
    waiting = [sys.executable, str(ROOT / "control.py"), url, "wait", root]
    if subprocess.run(waiting, check=False).returncode != 0:
        print(f"demo: a job has failed, its log tells why: {url}/", file=sys.stderr)
        return 1
    print(f"The picture:  {(FOLDER / FILM).as_uri()}\nThe web page: {url}/", flush=True)
    if not os.environ.get("CI"):
        stay(farm)
    return 0


def prepare(port: int) -> None:
    """Make the data folder anew."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    settings = SETTINGS.format(port=port, workers=os.cpu_count() or 1)
    (FOLDER / "coalition.ini").write_text(settings, "utf-8")


def choose_port() -> int:
    """Return Coalition's own port, or a free one when another program has it."""
    for port in (PORT, 0):
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            if os.name == "posix":
                # A port whose connections have just been closed is free.
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tcp.bind(("", port))
                udp.bind(("", tcp.getsockname()[1]))
            except OSError:
                continue
            return int(tcp.getsockname()[1])
    raise ProgramError("there is no free port")


def start(started: ExitStack, port: int) -> list[Program]:
    """Start the server and a node with as many workers as there are processors."""
    if port != PORT:
        print(f"Port {PORT} is taken, so this farm has {port}.", flush=True)
    server = started.enter_context(programs.server(FOLDER, port))
    arguments = ["--config", str(FOLDER / "coalition.ini")]
    node = started.enter_context(programs.running("worker.py", arguments, FOLDER, "worker"))
    return [server, node]


def submit(url: str) -> str:
    """Submit the frames and the job that joins them; return the id of the group they are in."""
    film = control(url, "add", "-t", "Lights on a knot")
    frames = control(url, "add", "-t", "Frames", "-P", film)
    for number in range(FRAMES):
        command = words(sys.executable, str(SCRIPT), "frame", str(number), "frames")
        add(url, frames, f"Frame {number}", command)
        if sys.stdout.isatty():
            print(f"\rSubmitted {number + 1} of {FRAMES} frames", end="", flush=True)
    if sys.stdout.isatty():
        print()
    add(url, film, "Join", words(sys.executable, str(SCRIPT), "join", "frames", FILM), "-D", frames)
    return film


def add(url: str, parent: str, title: str, command: str, *more: str) -> str:
    """Submit a job that works in the data folder and prints its progress; return its id."""
    place = ["-P", parent, "-t", title, "-d", str(FOLDER), "--globalprogress", PROGRESS]
    return control(url, "add", *place, "-c", command, *more)


def words(*parts: str) -> str:
    """Return the words as one command of this system's shell."""
    return subprocess.list2cmdline(parts) if os.name == "nt" else shlex.join(parts)


def stay(farm: list[Program]) -> None:
    """Keep the farm until Ctrl-C; raises ProgramError when one of its programs ends by itself."""
    print("Ctrl-C ends the demonstration.")
    while True:
        for program in farm:
            program.check()
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
