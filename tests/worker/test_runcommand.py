from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coalition import wire
from coalition.errors import ConfigError
from coalition.worker.command.command import Command, CommandError, Mark, Way, prepare
from coalition.worker.command.owner import UnfitUser, owner_of
from coalition.worker.command.runcommand import CARRIER, OWN, carried
from tests.worker.real import ROOT, eventually, running_node
from tests.worker.scripted import ScriptedServer

MARK = Mark(7, "it's $(id) node", "http://farm:19211")
MANUAL = "sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'"

SUDO = """#!/bin/sh
# Like sudo as far as the tests need it; whoever runs it has all rights.
env -0 > "${0%/*}/seen"
[ "$1" = -u ] || exit 99
user=$2; shift 2
keep=; [ "$1" = -E ] && keep=1 && shift
[ "$1" = -- ] && shift
[ "$keep" ] || set -- env -i PATH="$PATH" "$@"
exec CHANGE "$@"
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user can enter, with a sudo in it; it is first in the PATH of run()."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    change = 'runuser -u "$user" --' if os.geteuid() == 0 else ""
    (folder / "sudo").write_text(SUDO.replace("CHANGE", change))
    (folder / "sudo").chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def job(command: str, folder: Path, **more: str) -> wire.Start:
    return wire.Start("node", 7, 3, command, **({"dir": str(folder), "user": "nobody"} | more))


def made(start: wire.Start, template: str = MANUAL, folder: Path = Path("/nowhere")) -> Command:
    way = Way(template)
    owner = owner_of(start.user) if way.names_user else None
    return prepare(start, MARK, environ(folder), way, owner=owner)


def environ(folder: Path) -> dict[str, str]:
    return {"PATH": f"{folder}:/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/"}


def run(command: Command, folder: Path = Path("/nowhere")) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command.arguments,
        env={**environ(folder), **command.variables},
        cwd=command.directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )


def output(start: wire.Start, template: str, folder: Path) -> str:
    done = run(made(start, template, folder), folder)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


# --- the manual's template ---------------------------------------------------------------------


def test_the_template_of_the_manual_runs_a_command_in_its_folder(folder: Path) -> None:
    start = job("pwd; echo $A $(A) 'it''s'; exit 3", folder, environment="A=b c")
    done = run(made(start, MANUAL, folder), folder)
    assert (done.stdout, done.returncode) == (f"{folder}\nb c b c its\n", 3)


HOSTILE = [
    "id -un'; id -un; '",
    'id -un"; id -un; "',
    "id -un; $(id -un >&2)",
    "`id -un >&2`; id -un",
    "'\nid -un\n'; id -un",
    "id -un) ; (id -un",
    "id -un && sh -c 'id -un'",
    "id -un' sh -c 'id -un",
]


@needs_root
@pytest.mark.parametrize("text", HOSTILE)
def test_no_command_runs_anything_as_somebody_else(folder: Path, text: str) -> None:
    done = run(made(job(text, folder), MANUAL, folder), folder)
    assert "root" not in done.stdout + done.stderr
    assert "nobody" in output(job("id -un", folder), MANUAL, folder)


@needs_root
@pytest.mark.parametrize("name", [*HOSTILE, "-", "-P", "--", "$HOME", "*", " ", "\n", "\\", "é"])
def test_a_folder_is_a_folder_whatever_its_name(folder: Path, name: str) -> None:
    (folder / name).mkdir(mode=0o755)
    start = job("pwd; id -un", folder / name)
    assert output(start, MANUAL, folder) == f"{folder / name}\nnobody\n"


@pytest.mark.parametrize("user", ["nobody'; id; '", "nobody -u root", "$(id)", "root\n", "-uroot"])
def test_no_user_runs_anything_at_all(folder: Path, user: str) -> None:
    with pytest.raises(UnfitUser):
        made(job("true", folder, user=user), MANUAL, folder)


TEXTS = st.text(alphabet="ab'\"$()`\\;\n #-={}|", max_size=12).filter(lambda text: "$$" not in text)


@pytest.mark.parametrize("shell", ["dash", "bash", "ksh", "zsh"])
@given(text=TEXTS)
@settings(max_examples=40)
def test_a_command_means_the_same_as_without_a_runcommand(shell: str, text: str) -> None:
    if not shutil.which(shell):
        pytest.skip(f"there is no {shell} here")
    start = job(f"echo {text}", Path("/"))
    wanted = subprocess.run(
        [shell, "-c", start.command], cwd="/", env={}, capture_output=True, text=True, check=False
    )
    got = run(made(start, f"{shell} -c 'cd __dir__; __cmd__'"))
    assert got.stdout == wanted.stdout
    assert (got.returncode == 0) == (wanted.returncode == 0)


def test_a_folder_that_is_missing_ends_the_job_before_its_command(folder: Path) -> None:
    done = run(made(job("echo here", folder / "no"), MANUAL, folder), folder)
    assert (done.stdout, done.returncode) == ("", 1)
    assert str(folder / "no") in done.stderr


def test_a_relative_folder_is_not_looked_for_elsewhere(folder: Path) -> None:
    command = made(wire.Start("node", 7, 3, "pwd", "-", "nobody"), "sh -c 'cd __dir__; __cmd__'")
    assert "./-" in command.arguments
    (folder / "-").mkdir()
    environment = {**environ(folder), **command.variables, "CDPATH": "/", "OLDPWD": "/"}
    done = subprocess.run(command.arguments, cwd=folder, env=environment, capture_output=True)
    assert done.stdout.decode() == f"{folder}/-\n"


def test_a_file_that_a_command_reads_in_gets_no_arguments_of_ours(folder: Path) -> None:
    (folder / "settings.sh").write_text('echo "$# arguments"\n')
    assert output(job(". ./settings.sh", folder), MANUAL, folder) == "0 arguments\n"


# --- variables -----------------------------------------------------------------------------------


def test_what_acts_in_programs_acts_in_the_job_only(folder: Path) -> None:
    start = job(
        'echo "$LD_PRELOAD,$PATH,$A,${COALITION_JOB_ENVIRONMENT-gone}"',
        folder,
        environment=r"LD_PRELOAD=/it's $(id).so\nPATH=/evil\nBASH_ENV=/evil\nA=1'2",
    )
    done = run(made(start, MANUAL, folder), folder)
    assert done.stdout == "/it's $(id).so,/evil,1'2,gone\n"
    seen = dict(item.split("=", 1) for item in (folder / "seen").read_text()[:-1].split("\0"))
    assert seen["PATH"].startswith(f"{folder}:")
    assert not {"LD_PRELOAD", "BASH_ENV", "A"} & seen.keys()


def test_our_variables_reach_a_job_whose_sudo_lets_none_through(folder: Path) -> None:
    template = "sudo -u __user__ -- sh -c 'cd __dir__; __cmd__'"
    start = job('echo "$COALITION_RUN $COALITION_JOB_ID $COALITION_WORKER"', folder)
    assert output(start, template, folder) == "7 3 it's $(id) node\n"


def test_a_job_cannot_take_the_place_of_our_variables(folder: Path) -> None:
    environment = r"COALITION_RUN=8\n__cmd__=echo evil\n__dir__=/\nCOALITION_JOB_ENVIRONMENT=x"
    start = job("echo $COALITION_RUN; pwd", folder, environment=environment)
    assert output(start, MANUAL, folder) == f"7\n{folder}\n"


def test_what_a_shell_cannot_hand_on_is_left_out_and_named(folder: Path) -> None:
    start = job("echo $A", folder, environment=r"UID=0\nA.B=1\nX;id=1\nIFS=/\nA=1")
    command = made(start, "bash -c 'cd __dir__; __cmd__'", folder)
    assert [remark.split()[2] for remark in command.remarks] == ["UID", "A.B", "X;id", "IFS"]
    assert run(command).stdout == "1\n"


def test_no_variable_of_a_job_is_set_for_a_runcommand_without_a_script() -> None:
    environment = (
        r"LD_PRELOAD=/it's\nPATH=/e\nANY_THING=7\nCOALITION_RUN=8\nCOALITION_JOB_ENVIRONMENT=x"
    )
    command = made(job("render", Path("/a"), environment=environment), "myrunner __user__ __cmd__")
    assert command.arguments == ["myrunner", "nobody", "render"]
    assert command.variables == {
        "COALITION_RUN": "7",
        "COALITION_JOB_ID": "3",
        "COALITION_WORKER": MARK.worker,
        "COALITION_SERVER": MARK.server,
        "COALITION_JOB_ENVIRONMENT": (
            "export LD_PRELOAD='/it'\\''s'\nexport PATH='/e'\nexport ANY_THING='7'\n"
        ),
    }
    assert command.remarks == []


@needs_root
def test_the_program_of_the_documentation_hands_on_a_jobs_variables(folder: Path) -> None:
    page = (ROOT / "docs" / "users.rst").read_text("utf-8")
    program = page[page.index("   #!/bin/sh\n") :].partition("\n\n")[0]
    (folder / "myrunner").write_text(dedent(program) + "\n")
    (folder / "myrunner").chmod(0o755)
    start = job(
        'id -un; pwd; echo "$A,$LD_PRELOAD,$COALITION_RUN,${COALITION_JOB_ENVIRONMENT-gone}"',
        folder,
        environment=r"A=it's  $(id)\nLD_PRELOAD=\nENV=/e",
    )
    template = "myrunner __user__ __dir__ __cmd__"
    assert output(start, template, folder) == f"nobody\n{folder}\nit's  $(id),,7,gone\n"


@given(st.dictionaries(st.from_regex("[A-Za-z_][A-Za-z0-9_]*", fullmatch=True), TEXTS))
def test_a_program_can_read_the_variables_without_a_shell(variables: dict[str, str]) -> None:
    plain = {name: value for name, value in variables.items() if name not in OWN}
    words = shlex.split(carried(plain, [])[CARRIER])
    assert dict(word.split("=", 1) for word in words if "=" in word) == plain


# --- templates -----------------------------------------------------------------------------------


def test_blanks_outside_of_a_script_are_arguments_as_they_stand() -> None:
    start = job("render 'a' $(A)", Path("/my b"), environment="A=x")
    command = made(start, "runas __user__ --chdir=__dir__ '--name=__user__@farm' -- __cmd__")
    assert command.arguments == [
        *["runas", "nobody", "--chdir=/my b", "--name=nobody@farm", "--", "render 'a' x"]
    ]
    assert command.directory is None


def test_a_command_cannot_be_an_option_of_the_runcommand() -> None:
    with pytest.raises(CommandError, match="the command begins with -: -iuroot"):
        made(job("-iuroot", Path("/")), "sudo -u __user__ __cmd__")


def test_a_command_that_names_a_blank_is_not_filled_in_again(folder: Path) -> None:
    assert output(job("echo __dir__ __user__", folder), MANUAL, folder) == "__dir__ __user__\n"


@pytest.mark.parametrize(
    "template",
    [
        "/bin/bash -ec 'cd __dir__ && __cmd__'",
        "bash --norc -eo pipefail -c 'cd \"__dir__\"; __cmd__'",
        "bash -c -e 'if cd -- \"__dir__\"; then __cmd__; else exit 2; fi'",
        "sh -c \"cd '__dir__'; __cmd__ 2>&1 | cat\"",
        "sh -uc '(cd __dir__ && { __cmd__; }) >&1'",
        "sh -c 'umask 002\ncd __dir__\n__cmd__'",
        "env A=1 nice -n 1 sh -c 'cd __dir__; __cmd__'",
        "sudo -u __user__ -E env -u A /bin/sh -c 'cd __dir__; __cmd__'",
    ],
)
def test_ways_to_write_a_script(folder: Path, template: str) -> None:
    assert output(job("pwd; echo 'a  b'", folder), template, folder) == f"{folder}\na  b\n"


def test_a_script_may_be_nothing_but_the_command(folder: Path) -> None:
    assert output(job("echo 'a  b'", folder), "nice sh -c __cmd__", folder) == "a  b\n"


@needs_root
@pytest.mark.parametrize("change", ["runuser -u __user__ --", "setpriv --reuid=__user__ --"])
def test_real_programs_that_change_the_user(folder: Path, change: str) -> None:
    template = f"{change} sh -c 'cd __dir__; __cmd__'"
    start = job("id -un; echo $A", folder, environment="A='b'")
    assert output(start, template, folder) == "nobody\n'b'\n"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("sudo -u __user__ -- sh -c 'cd __dir__", "No closing quotation"),
        ("sudo -u __user__ -- run", "__cmd__, the job's command, stands nowhere"),
        ("__cmd__", "cannot choose the program"),
        ("ssh host 'cd __dir__; __cmd__'", "looks like a text for a shell"),
        ("run --do='cd __dir__; __cmd__'", "looks like a text for a shell"),
        ("python -c 'import os; os.chdir(\"__dir__\")' __cmd__", "looks like a text for a shell"),
        ("run '`__user__`' __cmd__", "looks like a text for a shell"),
        ("tcsh -c __cmd__", "'tcsh' may read its arguments as commands again"),
        ("ssh __user__@host __cmd__", "'ssh' may read"),
        ("su - __user__ -c __cmd__", "'su' may read"),
        ("su - __user__ -c 'cd __dir__; __cmd__'", "'su' may read"),
        ("runuser -l __user__ -c __cmd__", "'runuser' may read"),
        ("env -S __cmd__", "'env' may read"),
        ("sudo -iu __user__ -- sh -c 'cd __dir__; __cmd__'", "'sudo' may read"),
        ("sudo -u __user__ -E -s -- sh -c __cmd__", "'sudo' may read"),
        ("/usr/bin/sudo --login -u __user__ sh -c __cmd__", "'/usr/bin/sudo' may read"),
        (r"C:\\run.bat __user__ __cmd__", r"run.bat' may read"),
        ("sh -c 'cd __dir__; __cmd__' more", "nothing may follow the script"),
        ("sh -c 'cd __dir__'  ", "stands nowhere"),
        ("run __cmd__ sh -c 'cd __dir__'", "nothing may follow|does not stand by itself"),
        ("sh -c \"sudo -u __user__ -- sh -c '__cmd__'\"", "does not stand by itself"),
        ("sh -c 'sudo -u __user__ __cmd__'", "__cmd__ is not a whole command"),
        ("sh -c 'cd __dir__; nice __cmd__'", "__cmd__ is not a whole command"),
        ("sh -c 'cd __dir__; __cmd__ --more'", "__cmd__ is not a whole command"),
        ("sh -c 'cd __dir__; A=1 __cmd__'", "__cmd__ is not a whole command"),
        ("sh -c 'echo then __cmd__'", "__cmd__ is not a whole command"),
        ("sh -c 'cd __dir__/sub; __cmd__'", "'__dir__/sub' is not a whole word"),
        ("sh -c 'cd \"/a/__dir__\"; __cmd__'", "is not a whole word"),
        ("sh -c 'eval cd __dir__; __cmd__'", "'eval' may read"),
        ("sh -c 'ssh host ls __dir__; __cmd__'", "'ssh' may read"),
        ("sh -c 'sudo -s ls __dir__; __cmd__'", "'sudo' may read"),
        ("sh -c 'sh <<E\n__cmd__\nE'", "has a here-document"),
        ("sh -c 'cd \"__dir__; __cmd__'", "cannot be read from|does not stand by itself"),
    ],
)
def test_what_cannot_be_made_safe_is_refused_at_the_start(template: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason) as caught:
        Way(template)
    assert str(caught.value).startswith("[worker] runcommand: ")


def test_a_node_with_an_unsafe_template_does_not_start(tmp_path: Path) -> None:
    ini = "serverUrl=http://127.0.0.1:9\nruncommand=ssh host 'cd __dir__; __cmd__'\n"
    with running_node(tmp_path, ini=ini) as node:
        assert node.exit_code() == 2
    printed = (tmp_path / "printed").read_text()
    assert printed.startswith("worker.py: [worker] runcommand: 'cd __dir__; __cmd__' looks like")


# --- on a node -----------------------------------------------------------------------------------


@needs_root
@pytest.mark.parametrize(
    "way", ["runasuser=1", "runcommand=runuser -u __user__ -- sh -c 'cd __dir__; __cmd__'"]
)
def test_a_node_run_by_root_runs_jobs_as_their_users(
    folder: Path, tmp_path: Path, way: str
) -> None:
    with ScriptedServer().running() as server:
        ini = f"serverUrl={server.url}\n{way}\nscratch={folder}\n"
        with running_node(tmp_path, ini=ini) as node:
            command = "id -un; touch mine; pwd; echo $COALITION_SCRATCH_DIR"
            server.give(1, command, user="nobody", scratch=True)
            assert server.wait_for_end(1).code == 0
            server.give(2, "id -un", user="root")
            assert server.wait_for_end(2).code == 126
            server.wait_for_log(2, b"ERROR: no job may run as root")
            name, *places = server.logs[1].decode().splitlines()
            assert (name, len(set(places))) == ("nobody", 1)
            assert places[0].startswith(f"{folder}/scratch-node-")
            eventually(lambda: not Path(places[0]).exists())
            assert node.leave() == 0
