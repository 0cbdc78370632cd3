"""Jobs that are over their timeout are gone, whoever they run as."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.farm import eventually, run_states, running_server, state, submit
from tests.worker.commands import needs_root
from tests.worker.real import running_with
from tests.worker.unprivileged import OWNER, setuid_folder, unprivileged_node


@needs_root
def test_a_job_of_another_user_ends_by_its_timeout_on_a_node_without_rights(
    free_port: int, tmp_path: Path
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    with (
        running_server(tmp_path / "server", store, free_port),
        setuid_folder() as folder,
        unprivileged_node(folder, url, None),
    ):
        command = "(setsid sleep 7612.5 &); sleep 7612.5"
        job = submit(url, command, dir="/", user=OWNER, timeout=1)
        eventually(lambda: running_with("7612.5"))
        eventually(lambda: state(url, job) == "ERROR")
        eventually(lambda: not running_with("7612.5"))
        assert run_states(url, job) == ["ERROR"]
    log = (tmp_path / "server" / "logs" / f"{job}.log").read_text()
    assert "could not be ended" not in log
