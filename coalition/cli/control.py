"""control.py: submit jobs to a server, look at them, wait for them."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from typing import NoReturn

import msgspec

from coalition.cli import crew, tables
from coalition.cli.progressbar import ProgressBar
from coalition.client import Connection
from coalition.core.states import ERROR
from coalition.errors import CoalitionError, ConfigError, ServerUnreachable, Unanswered

USAGE = 2
UNREACHABLE = 3
UNANSWERED = 4
REFUSED = 1
INTERRUPTED = 130
"""What a shell gives for a program that Ctrl-C has ended."""

ADDRESS = "COALITION_SERVER"
"""Environment variable with the server's URL; every job has it, so that a job can submit jobs."""


@dataclass(frozen=True)
class Command:
    """What one call of the program asks for."""

    farm: Connection
    action: str
    ids: list[int]
    words: list[str]
    options: argparse.Namespace


@dataclass(frozen=True)
class Action:
    """What stands behind the word ACTION; it takes `least` to `most` ids of jobs."""

    run: Callable[[Command], int]
    help: str
    least: int = 0
    most: float = 0


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    try:
        replace_unprintable()
        command = read(sys.argv[1:] if argv is None else argv, os.environ)
        code = ACTIONS[command.action].run(command)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INTERRUPTED
    except ConfigError as error:
        return complain(error, USAGE)
    except ServerUnreachable as error:
        return complain(error, UNREACHABLE)
    except Unanswered as error:
        return complain(error, UNANSWERED)
    except CoalitionError as error:
        return complain(error, REFUSED)
    return code


def complain(error: CoalitionError, code: int) -> int:
    """Say in one line what went wrong, and return the exit code for it."""
    print(f"control.py: {' '.join(str(error).split())}", file=sys.stderr)
    return code


def replace_unprintable() -> None:
    """Print a `?` for what the terminal's encoding has not, instead of giving up."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")


# --- the command line ---------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line long."""

    def error(self, message: str) -> NoReturn:
        """Leave with the exit code for a wrong use."""
        self.exit(USAGE, f"{self.prog}: {message}, see {self.prog} --help\n")


def read(argv: Sequence[str], environ: Mapping[str, str]) -> Command:
    """Read the command line, whose options stand before, between or after the words."""
    options = parser().parse_intermixed_args(argv)
    if options.verbose:
        logging.basicConfig(stream=sys.stderr, format="%(message)s")
        logging.getLogger("coalition").setLevel(logging.DEBUG)
    words = list(options.words)
    address = environ.get(ADDRESS, "")
    if words and not (address and words[0] in ACTIONS):
        address = words.pop(0)
    if not words:
        raise ConfigError(f"SERVER_URL and ACTION are needed; {ADDRESS} may name the server")
    action = words.pop(0)
    if action not in ACTIONS:
        raise ConfigError(f"there is no action '{action}', only {', '.join(ACTIONS)}")
    names = words if action == "workers" else []
    ids = options.jobid + [job_id(word) for word in words if not names]
    if action == "list" and options.parent != "0":
        ids.append(job_id(options.parent))
    check_count(action, len(ids))
    return Command(Connection(address), action, ids, names, options)


def job_id(word: str) -> int:
    """Return the id that a word stands for; raises ConfigError."""
    if not word.isdecimal():
        raise ConfigError(f"'{word}' is not the id of a job")
    return int(word)


def check_count(action: str, count: int) -> None:
    """Raise ConfigError when an action does not take that many ids."""
    takes = ACTIONS[action]
    if count < takes.least:
        raise ConfigError(f"{action} needs the id of a job")
    if count > takes.most:
        some = "one id" if takes.most else "no ids"
        raise ConfigError(f"{action} takes {some}")


def parser() -> argparse.ArgumentParser:
    """Describe the command line; the documentation of control.py is made from this."""
    actions = "\n".join(f"  {name:<12} {action.help}" for name, action in ACTIONS.items())
    made = Parser(
        prog="control.py",
        usage="%(prog)s [options] SERVER_URL ACTION [ID ...]",
        description="Submit jobs to a Coalition server and look after them.",
        epilog=f"actions:\n{actions}\n\nexit codes:\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("words", nargs="*", metavar="SERVER_URL ACTION [ID ...]", help=WORDS)
    made.add_argument("-v", "--verbose", action="store_true", help="show the requests on stderr")
    made.add_argument(
        "-i",
        "--jobid",
        type=int,
        action="append",
        default=[],
        metavar="ID",
        help="a job the action is about, like the words after it",
    )
    made.add_argument("--json", action="store_true", help="print JSON (list, workers)")
    made.add_argument("--follow", action="store_true", help="go on until the job has ended (log)")
    describe_job(made.add_argument_group("options of add"))
    return made


WORDS = (
    "the server, like http://farm:19211 (http:// and the port may be left out, and all of it if "
    f"the environment has {ADDRESS}), what to do, and the jobs to do it with"
)

EXIT_CODES = """\
  0            done; of wait: all jobs are FINISHED
  1            the server refused; of wait: a job has ended in ERROR
  2            wrong use of control.py
  3            the server does not answer
  4            its answer was lost: whether it has done what it was asked is unknown
  130          interrupted"""


def describe_job(group: argparse._ArgumentGroup) -> None:
    """Describe the options that become attributes of a new job."""
    add = group.add_argument
    add(
        "-c",
        "--cmd",
        "--command",
        dest="command",
        default="",
        metavar="COMMAND",
        help="the command to run; without one the job is a group for other jobs",
    )
    add("-d", "--directory", default=".", metavar="DIR", help="where it runs (%(default)s)")
    add(
        "-e", "--env", action="append", default=[], metavar="A=1", help="its environment: A=1\\nB=2"
    )
    add("-t", "--title", default="New job", help="its name for people (%(default)s)")
    add(
        "-P",
        "--parent",
        default="0",
        metavar="GROUP",
        help="group of the job: its id, title, or path like departments|render; also for list",
    )
    add("-p", "--priority", type=int, default=1000, help="higher goes first (%(default)s)")
    add(
        "-r",
        "--retry",
        type=int,
        default=0,
        metavar="N",
        help="further runs after a failed one (%(default)s)",
    )
    add(
        "-T",
        "--timeout",
        type=float,
        default=0,
        metavar="SECONDS",
        help="longest time of a run, 0 for none (%(default)s)",
    )
    add(
        "-a", "--affinity", default="", metavar="WORDS", help="run on workers with these: LINUX,GPU"
    )
    add("-D", "--dependencies", default="", metavar="IDS", help="wait for these jobs: 1,3")
    add("--user", default="", help="whose job it is")
    add("--url", default="", help="what its Open link opens")
    add(
        "--globalprogress",
        default="",
        metavar="PATTERN",
        help="how its progress stands in its output, with %%percent or %%one",
    )
    add("--localprogress", default="", metavar="PATTERN", help="the same within the current step")
    add("--exclusive", action="store_true", help="never run on two nodes at the same time")
    add("--scratch", action="store_true", help="run in an empty directory of its own, not in DIR")
    add("--wait", action="store_true", help="then do what wait does")


# --- the actions --------------------------------------------------------------------------------


def add(command: Command) -> int:
    """Submit a job and print its id, and nothing else."""
    options = command.options
    parent = int(options.parent) if options.parent.isdecimal() else options.parent
    job = command.farm.newJob(
        parent=parent,
        title=options.title,
        command=options.command,
        dir=options.directory,
        environment="\\n".join(options.env),
        priority=options.priority,
        timeout=options.timeout,
        affinity=options.affinity,
        user=options.user,
        progress_pattern=options.localprogress,
        dependencies=options.dependencies,
        url=options.url,
        retry=options.retry,
        globalprogress=options.globalprogress,
        exclusive=options.exclusive,
        scratch=options.scratch,
    )
    print(job, flush=True)
    return wait_for(command.farm, [job]) if options.wait else 0


def list_jobs(command: Command) -> int:
    """Print the jobs of a group."""
    jobs = command.farm.getJobChildren(*command.ids)
    as_json = command.options.json
    print(json_text([job.fields for job in jobs]) if as_json else tables.jobs(jobs))
    return 0


def workers(command: Command) -> int:
    """Print the workers, or give those that are named an order."""
    if command.words:
        crew.order(command.farm, command.words[0], command.words[1:])
        return 0
    workers = command.farm.getWorkers()
    print(json_text(workers) if command.options.json else tables.workers(workers))
    return 0


def json_text(value: object) -> str:
    """Return a value as JSON that people can read, too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2).decode()


def print_log(command: Command) -> int:
    """Print the log of a job, as it grows if that was asked for."""
    for piece in command.farm.log(command.ids[0], command.options.follow):
        print(piece, end="", flush=True)
    return 0


def wait(command: Command) -> int:
    """Wait for jobs; return 0 when all are FINISHED and 1 when one has ended in ERROR."""
    return wait_for(command.farm, command.ids)


def wait_for(farm: Connection, ids: Sequence[int]) -> int:
    """Wait for jobs, with a progress bar on a terminal."""
    with ProgressBar(sys.stderr) as bar:
        for jobs in farm.watch(ids):
            bar.show(jobs)
    return 1 if any(job.state == ERROR for job in jobs) else 0


def order(send: Callable[[Connection, list[int]], None]) -> Callable[[Command], int]:
    """Return the action that sends the ids to the server and prints nothing."""

    def run(command: Command) -> int:
        send(command.farm, command.ids)
        return 0

    return run


MANY = float("inf")

ACTIONS = {
    "add": Action(add, "submit a job and print its id"),
    "list": Action(list_jobs, "the jobs of a group, or those that are in none", 0, 1),
    "remove": Action(order(Connection.deleteJobs), "delete jobs and all below them", 1, MANY),
    "start": Action(
        order(Connection.startJobs), "start paused jobs, run ended ones again", 1, MANY
    ),
    "pause": Action(order(Connection.pauseJobs), "pause jobs, end what runs of them", 1, MANY),
    "reset": Action(order(Connection.resetJobs), "run jobs and all below again", 1, MANY),
    "reseterrors": Action(order(Connection.resetErrorJobs), "run failed jobs again", 1, MANY),
    "log": Action(print_log, "the output of a job", 1, 1),
    "workers": Action(workers, f"the workers of the farm, or an order to some: {crew.USAGE}"),
    "wait": Action(wait, "wait until jobs have ended", 1, MANY),
}
