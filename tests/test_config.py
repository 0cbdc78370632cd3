from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from coalition import config
from coalition.config import ServerConfig, WorkerConfig, load_server, load_worker, settings
from coalition.errors import ConfigError

ROOT = Path(__file__).parent.parent

OLD_FARM = ROOT / "tests" / "data" / "coalition40"

ARTISTS = "(&(cn=artists)(member=uid=__login__,ou=people))"
LEADS = "(&(cn=leads)(member=uid=__login__,ou=people))"

FILE_OF_4_0 = r"""
# Server configuration
[server]
db_type=mysql
db_mysql_host=127.0.0.1:3307
db_mysql_password=a%b%%c
db_mysql_install=1
; a comment of the other kind
servermode=normal
timeout=10
smtptls=0
ldaptemplateviewjob= (& (cn=artists) (member=cn=__login__,dc=lan) )
commandwhitelist=echo .*
 @alice
 render -p 100% .*
 # a comment between two lines
 ffmpeg .*

[worker]
serverUrl=http://farm:19211
cpus=None
runcommand=sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'
"""


def server(folder: Path, text: str = "", **options: object) -> ServerConfig:
    (folder / "coalition.ini").write_text(text, "utf-8")
    return load_server(options, None, folder, {})


def worker(folder: Path, text: str = "", **options: object) -> WorkerConfig:
    (folder / "coalition.ini").write_text(text, "utf-8")
    return load_worker(options, None, folder, {})


def refusal(folder: Path, text: str) -> str:
    """What is said about a file, without the file's own name, which it must begin with."""
    with pytest.raises(ConfigError) as caught:
        server(folder, text)
    path, message = folder / "coalition.ini", str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message.removeprefix(f"{path}: ")


def test_without_a_file_the_documented_defaults_hold(tmp_path: Path) -> None:
    loaded = load_server({}, None, tmp_path, {})
    assert loaded == ServerConfig(datadir=tmp_path)
    assert (loaded.port, loaded.timeout, loaded.smtptls) == (19211, 60.0, True)


def test_relative_paths_start_at_the_data_folder(tmp_path: Path) -> None:
    loaded = server(tmp_path, "[server]\ndb_sqlite_file=jobs/farm.db\n")
    assert loaded.database == tmp_path / "jobs" / "farm.db"
    assert loaded.logs == tmp_path / "logs"
    assert loaded.log_file == tmp_path / "server.log"
    assert worker(tmp_path).log_file == tmp_path / "worker.log"


def test_a_path_of_its_own_stays_where_it_is(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.db"
    assert server(tmp_path, f"[server]\ndb_sqlite_file={elsewhere}").database == elsewhere


def test_a_file_of_4_0_is_read_as_it_stands(tmp_path: Path) -> None:
    loaded = server(tmp_path, FILE_OF_4_0)
    assert loaded.db_mysql_password == "a%b%%c"
    assert loaded.commandwhitelist.split("\n") == [
        "echo .*", "@alice", "render -p 100% .*", "ffmpeg .*",
    ]  # fmt: skip
    assert loaded.ldaptemplateviewjob == "(& (cn=artists) (member=cn=__login__,dc=lan) )"
    assert (loaded.smtptls, loaded.timeout) == (False, 10.0)


def test_a_worker_reads_its_own_section_of_that_file(tmp_path: Path) -> None:
    loaded = worker(tmp_path, FILE_OF_4_0)
    assert loaded.server_url == "http://farm:19211"
    assert loaded.cpus is None
    assert loaded.runcommand == "sudo -u __user__ -E -- sh -c 'cd __dir__; __cmd__'"


def test_every_key_that_4_0_knew_is_read_by_the_server() -> None:
    loaded = load_server({}, OLD_FARM / "coalition.ini", OLD_FARM, {})
    assert loaded == ServerConfig(
        datadir=OLD_FARM,
        db_mysql_host="db.farm.lan",
        db_mysql_user="farm",
        db_mysql_password="50%off;really",
        db_mysql_base="coalition",
        port=19400,
        timeout=10.0,
        notifyafter=20,
        decreasepriorityafter=5,
        smtpport=25,
        smtptls=False,
        smtpsender="farm@farm.lan",
        smtplogin="farm",
        smtppasswd="100%sure",
        ldaptemplatelogin="uid=__login__,ou=people,dc=farm,dc=lan",
        ldapbase="dc=farm,dc=lan",
        ldapunsafeapi=True,
        ldaptemplatecreatejob=ARTISTS,
        ldaptemplateviewjob="(&(cn=everybody)(room=50%25)(member=uid=__login__))",
        ldaptemplateeditjob=ARTISTS,
        ldaptemplatedeletejob=ARTISTS,
        ldaptemplatecreatejobglobal=LEADS,
        ldaptemplateviewjobglobal=LEADS,
        ldaptemplateeditjobglobal=LEADS,
        ldaptemplatedeletejobglobal=LEADS,
        commandwhitelist="echo .*\ntrue\n@ann\nrender --quality=100% .*",
    )


def test_and_by_the_worker() -> None:
    loaded = load_worker({}, OLD_FARM / "coalition.ini", OLD_FARM, {})
    assert loaded == WorkerConfig(
        datadir=OLD_FARM, server_url="http://127.0.0.1:19400", workers=2, name="sun"
    )


def test_what_stands_behind_a_space_and_a_semicolon_is_a_comment(tmp_path: Path) -> None:
    text = "[server]\nport=1 ; one\nverbose=1\t;two\ndb_type=mysql ; three\nsmtphost=a;b ; c\n"
    loaded = server(tmp_path, f"{text}ldaphost= ; none\n")
    assert (loaded.port, loaded.verbose, loaded.db_type) == (1, True, "mysql")
    assert (loaded.smtphost, loaded.ldaphost) == ("a;b", "")


def test_but_not_where_a_semicolon_may_be_meant(tmp_path: Path) -> None:
    """In passwords, what is asked of the directory, commands and the white list."""
    keys = ("db_mysql_password", "smtppasswd", "ldaptemplateviewjob", "commandwhitelist")
    loaded = server(tmp_path, "[server]\n" + "".join(f"{key}=a ; b\n" for key in keys))
    assert {getattr(loaded, key) for key in keys} == {"a ; b"}
    commands = worker(tmp_path, "[worker]\nstartup=a ; b\nruncommand=c ; d\nname=e ; f\n")
    assert (commands.startup, commands.runcommand, commands.name) == ("a ; b", "c ; d", "e")
    assert worker(tmp_path, name="e ; f").name == "e ; f"


def remarks(folder: Path, text: str) -> list[str]:
    """What the server's log says about a file, without the file's name."""
    return [
        line.removeprefix(f"{folder / 'coalition.ini'}: ") for line in server(folder, text).remarks
    ]


def test_of_a_key_that_stands_twice_the_last_counts_and_the_log_says_so(tmp_path: Path) -> None:
    text = "[server]\nport=1\nPort=2\nverbose=1\n[worker]\nverbose=1\n[server]\ntimeout=3\n"
    loaded = server(tmp_path, text)
    assert (loaded.port, loaded.verbose, loaded.timeout) == (2, True, 3.0)
    assert remarks(tmp_path, text) == [
        "[server] port: the key stands there twice; the last one counts"
    ]


def test_what_only_older_programs_read_is_passed_over_and_the_log_says_so(tmp_path: Path) -> None:
    text = "[DEFAULT]\nport=1\n[server]\nsavetime=300\nservice=0\n[worker]\nservice=1\n"
    assert server(tmp_path, text) == ServerConfig(datadir=tmp_path)
    assert remarks(tmp_path, text) == [
        "[DEFAULT]: the section is passed over",
        "[server] savetime: it means nothing any more; it is passed over",
    ]
    assert any("[worker] service: it" in line for line in worker(tmp_path, text).remarks)


def test_the_log_names_what_was_doubled_for_4_0_and_shows_no_password(tmp_path: Path) -> None:
    assert remarks(tmp_path, "[server]\nsmtppasswd=50%%off\nsmtplogin=50%off\n") == [
        "[server] smtppasswd: each % stands for itself here; 4.0 wanted it twice"
    ]


def test_a_file_of_an_old_windows_is_read(tmp_path: Path) -> None:
    written = "[server]\r\nsmtplogin=Zoé €\r\n".encode("cp1252")
    (tmp_path / "coalition.ini").write_bytes(written)
    loaded = load_server({}, None, tmp_path, {})
    assert loaded.smtplogin == "Zoé €"
    assert [line.partition(": ")[2] for line in loaded.remarks] == [
        "the file is not UTF-8; it is read as Windows-1252"
    ]
    (tmp_path / "coalition.ini").write_bytes(b"[server]\nsmtplogin=\x81\n")
    assert load_server({}, None, tmp_path, {}).smtplogin == "\x81"


def test_a_file_saved_by_notepad_is_read(tmp_path: Path) -> None:
    (tmp_path / "coalition.ini").write_bytes(b"\xef\xbb\xbf[server]\r\nport=1234\r\n")
    assert load_server({}, None, tmp_path, {}).port == 1234


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("db", ("db", 3306)),
        ("db:3307", ("db", 3307)),
        ("::1", ("::1", 3306)),
        ("[::1]:3307", ("::1", 3307)),
    ],
)
def test_the_mysql_host_may_carry_the_port(
    tmp_path: Path, host: str, address: tuple[str, int]
) -> None:
    assert server(tmp_path, f"[server]\ndb_mysql_host={host}").mysql_address == address


def test_a_mysql_host_with_a_word_for_a_port_is_refused(tmp_path: Path) -> None:
    loaded = server(tmp_path, "[server]\ndb_mysql_host=db:many")
    with pytest.raises(ConfigError, match=r"\[server\] db_mysql_host: 'many' is not a port"):
        _ = loaded.mysql_address


@pytest.mark.parametrize("yes", ["1", "2", "true", "Yes", "ON"])
def test_yes_has_many_spellings(tmp_path: Path, yes: str) -> None:
    assert server(tmp_path, f"[server]\nverbose={yes}").verbose is True


@pytest.mark.parametrize("no", ["0", "False", "no", "off"])
def test_no_has_many_spellings(tmp_path: Path, no: str) -> None:
    assert server(tmp_path, f"[server]\nsmtptls={no}").smtptls is False


def test_a_number_left_empty_is_the_default(tmp_path: Path) -> None:
    assert server(tmp_path, "[server]\nport=\nverbose=\n") == ServerConfig(datadir=tmp_path)


def test_file_then_environment_then_command_line(tmp_path: Path) -> None:
    file = tmp_path / "farm.ini"
    file.write_text("[server]\nport=1\nsmtpport=2\ntimeout=3\n")
    environ = {"COALITION_SERVER_SMTPPORT": "20", "COALITION_SERVER_TIMEOUT": "30"}
    loaded = load_server({"timeout": 300.0, "port": None}, file, tmp_path, environ)
    assert (loaded.port, loaded.smtpport, loaded.timeout) == (1, 20, 300.0)


def test_other_options_of_a_program_are_no_settings(tmp_path: Path) -> None:
    assert server(tmp_path, port=1, init=True) == ServerConfig(datadir=tmp_path, port=1)


def test_debug_and_affinity_come_from_the_command_line_only(tmp_path: Path) -> None:
    loaded = load_worker(
        {"affinity": "LINUX"}, None, tmp_path, {"COALITION_WORKER_AFFINITY": "WINDOWS"}
    )
    assert (loaded.affinity, loaded.debug) == ("LINUX", False)
    with pytest.raises(ConfigError, match=r"\[worker\] debug: there is no such setting"):
        worker(tmp_path, "[worker]\ndebug=1")


def test_a_worker_without_a_name_has_the_computers(tmp_path: Path) -> None:
    assert worker(tmp_path, "[worker]\nname=\n").name == socket.gethostname()
    assert worker(tmp_path, '[worker]\nname=Zoé\'s "box"\n').name == 'Zoé\'s "box"'


def test_broadcast_addresses_are_separated_by_commas(tmp_path: Path) -> None:
    loaded = worker(tmp_path, "[worker]\nbroadcast=127.255.255.255, 10.0.0.255\n")
    assert loaded.broadcast == ("127.255.255.255", "10.0.0.255")
    with pytest.raises(ConfigError, match="broadcast: 'here' is not an IPv4 address"):
        worker(tmp_path, "[worker]\nbroadcast=here")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[server]\nprot=1", "[server] prot: there is no such setting, did you mean 'port'?"),
        ("[server]\nqqq=1", "[server] qqq: there is no such setting"),
        ("[worker]\nserverurls=x",
         "[worker] serverurls: there is no such setting, did you mean 'serverUrl'?"),
        ("[Server]\nport=1", "[Server]: there is no such section, did you mean 'server'?"),
        ("[server]\nport=many", "[server] port: 'many' is not a whole number"),
        ("[server]\nport=70000",
         "[server] port: 70000 is out of range, it must be between 0 and 65535"),
        ("[server]\nnotifyafter=-1",
         "[server] notifyafter: -1 is out of range, it must be at least 0"),
        ("[server]\nmaxlogsize=65535",
         "[server] maxlogsize: 65535 is out of range, it must be at least 65536"),
        ("[server]\ntimeout=nan", "[server] timeout: 'nan' is not a number"),
        ("[server]\nverbose=maybe", "[server] verbose: 'maybe' is neither yes nor no"),
        ("[server]\ndb_type=oracle", "[server] db_type: 'oracle' is none of sqlite, mysql"),
        ("port=1", "line 1: there is no [server] or [worker] line above it"),
        ("[server]\nport", "line 2: this is not key=value"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    tmp_path: Path, text: str, reason: str
) -> None:
    assert refusal(tmp_path, text) == reason


def test_a_file_that_was_named_must_be_there(tmp_path: Path) -> None:
    missing = tmp_path / "farm.ini"
    with pytest.raises(ConfigError, match=r"farm\.ini: there is no such file"):
        load_server({}, missing, tmp_path, {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_server({}, tmp_path, tmp_path, {})


def test_a_wrong_variable_or_option_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^COALITION_SERVER_PORT: 'x' is not a whole number$"):
        load_server({}, None, tmp_path, {"COALITION_SERVER_PORT": "x"})
    with pytest.raises(ConfigError, match=r"^option port: -1 is out of range"):
        load_server({"port": -1}, None, tmp_path, {})


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    loaded = server(tmp_path, "[server]\ndb_mysql_password=hush\nsmtppasswd=hush\n")
    assert loaded.smtppasswd == "hush"
    assert "hush" not in repr(loaded)


def test_the_sample_file_holds_every_setting_with_its_help_and_default(tmp_path: Path) -> None:
    text = (ROOT / "_coalition.ini").read_text("utf-8")
    for kind, name in config.SECTIONS.items():
        section = re.split(r"^\[\w+\]$", text, flags=re.MULTILINE)[1 + (name == "worker")]
        described = re.findall(r"^# (.+)\n(?:#[ ].*\n)*#(\w+)=", section, re.MULTILINE)
        wanted = [one for one in settings(kind) if one.rule.in_file]
        assert [key for _, key in described] == [one.key for one in wanted]
        for (first, _), one in zip(described, wanted, strict=True):
            assert first.startswith(one.rule.help), one.key
    filled = re.sub(r"^#(\w+=)", r"\1", text, flags=re.MULTILINE)
    assert server(tmp_path, filled) == ServerConfig(datadir=tmp_path)
    assert worker(tmp_path, filled, name="x") == WorkerConfig(datadir=tmp_path, name="x")


@pytest.mark.parametrize("name", ["_cloud_aws.ini", "_cloud_gcloud.ini"])
def test_the_cloud_samples_are_ini_files_that_explain_every_section(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    sections = set(re.findall(r"^\[(\w+)\]$", text, re.MULTILINE))
    assert {"authentication", "storage", "coalition", "worker"} <= sections
    assert re.search(r"^;?workerinstancemax=3$", text, re.MULTILINE)
