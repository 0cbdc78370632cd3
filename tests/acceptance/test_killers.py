"""Jobs that kill the process that keeps them: each has its tries and no more."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.farm import (
    eventually,
    get,
    marked,
    processes,
    run_states,
    running_node,
    running_server,
    state,
    submit,
)


def test_a_job_that_always_kills_its_keeper_ends_in_error_and_the_others_are_done(
    free_port: int, tmp_path: Path
) -> None:
    url, store = f"http://127.0.0.1:{free_port}", f"sqlite:///{tmp_path / 'coalition.db'}"
    with running_server(tmp_path / "server", store, free_port):
        killer = submit(
            url, "sleep 7811.5 & kill -9 $PPID; wait", retry=1, environment=marked(tmp_path)
        )
        others = [submit(url, "true") for _ in range(20)]
        with running_node(tmp_path / "node", url, "node"):
            eventually(lambda: state(url, killer) == "ERROR")
            assert processes(tmp_path) == []
            eventually(lambda: {state(url, job) for job in others} == {"FINISHED"})

        states = run_states(url, killer)
        assert states.count("ERROR") == 2 and set(states) <= {"ERROR", "STOPPED"}
        assert {event["code"] for event in get(url, f"events?job={killer}")} <= {-9, None}
    log = (tmp_path / "server" / "logs" / f"{killer}.log").read_text()
    assert log.count("ERROR: The worker's keeper was killed while this ran") == 2
    assert log.splitlines()[-1].endswith("exit code -9")
