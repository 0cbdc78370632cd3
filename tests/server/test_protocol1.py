"""Protocol 1: the workers of Coalition 4.0, with the answers that 4.0 gave."""

from __future__ import annotations

import ast
import base64
import socket

import pytest

from coalition import wire
from tests.server.builders import Api

NOTHING = "(-1, '', '', '', None)"


def log(text: bytes) -> str:
    return base64.b64encode(text).decode()


def picked(api: Api, name: str = "w") -> int:
    return int(ast.literal_eval(api.worker("pickjob", name))[0])


def test_a_worker_gets_a_tuple_and_nothing_is_minus_one(api: Api) -> None:
    assert api.worker("pickjob", "w") == NOTHING
    id = api.put({"command": "echo 'a'", "dir": "C:\\jobs", "user": "", "environment": "A=é"})

    text = api.worker("pickjob", "w", load="[3]", free_memory="100", total_memory="200")
    assert ast.literal_eval(text) == (id, "echo 'a'", "C:\\jobs", "", "A=é")
    assert text.startswith(f"({id}, u") and text.isascii()


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_job_is_worked_on_from_its_pick_to_its_end(api: Api, method: str) -> None:
    id = api.put({"command": "true"})

    def ask(call: str, **fields: int | str) -> str:
        values = {"hostname": "w", **fields}
        if method == "GET":
            return api.session.get(f"{api.url}/workers/{call}", params=values, timeout=30).text
        return api.session.post(f"{api.url}/workers/{call}", data=values, timeout=30).text

    assert ast.literal_eval(ask("pickjob", load="[0]", free_memory=1, total_memory=2))[0] == id
    assert ask("heartbeat", jobId=id, log=log(b"PROGRESS:50\n"), load="[12]") == "true"
    assert ask("heartbeat", jobId=id) == "true"
    assert ask("endjob", jobId=id, errorCode=0) == "None"
    shown = api.get(f"jobs/{id}")
    assert (shown["state"], shown["worker"], shown["run_done"]) == ("FINISHED", "w", 1)
    assert "PROGRESS:50\n" in api.get(f"jobs/{id}/log")


def test_progress_is_read_from_the_log(api: Api) -> None:
    id = api.put({"command": "true", "globalprogress": "frame %percent"})
    picked(api)
    api.worker("heartbeat", "w", jobId=id, log=log(b"frame 25\nframe 5"))
    api.worker("heartbeat", "w", jobId=id, log=log(b"0\n"))
    other = api.put({"command": "true"})

    assert (api.get(f"jobs/{id}")["progress"], api.get(f"jobs/{other}")["progress"]) == (0.5, None)


def test_old_workers_name_their_memory_otherwise(api: Api) -> None:
    api.worker("pickjob", "w", freeMemory="10", totalMemory="20")
    (worker,) = api.get("workers")

    assert (worker["free_memory"], worker["total_memory"]) == (10, 20)


@pytest.mark.parametrize(
    "name", ['it\'s "quoted"', "with space", "héloïse", "a;b&c=d%2", "x" * 255]
)
def test_a_worker_may_have_any_name(api: Api, name: str) -> None:
    id = api.put({"command": "true"})
    assert picked(api, name) == id
    assert api.worker("heartbeat", name, jobId=id) == "true"
    api.worker("endjob", name, jobId=id, errorCode=0)

    assert api.get(f"jobs/{id}")["worker"] == name
    assert [worker["name"] for worker in api.get("workers")] == [name]
    assert api.get(f"events?job={id}")[0]["worker"] == name


def raw(api: Api, call: str, form: bytes, method: str = "POST") -> str:
    """What a worker gets for a form, or an address, of just these bytes."""
    url, headers = (
        f"{api.url}/workers/{call}",
        {"content-type": "application/x-www-form-urlencoded"},
    )
    if method == "GET":
        answer = api.session.get(f"{url}?{form.decode('ascii')}", timeout=30)
    else:
        answer = api.session.post(url, data=form, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_names_that_differ_by_an_accent_that_is_no_utf8_stay_two(api: Api, method: str) -> None:
    """Python 2 on Windows sends the name of the computer as the bytes that it has."""
    ids = [api.put({"command": "true"}) for _ in range(2)]
    for id, name in zip(ids, (b"caf%E9", b"caf%E8"), strict=True):
        assert ast.literal_eval(raw(api, "pickjob", b"hostname=" + name, method))[0] == id
    raw(api, "endjob", f"hostname=caf%E9&jobId={ids[0]}".encode(), method)

    assert [job["worker"] for job in api.get("jobs")] == ["café", "cafè"]
    assert [job["state"] for job in api.get("jobs")] == ["FINISHED", "WORKING"]


def test_bytes_need_not_be_escaped_in_a_form(api: Api) -> None:
    for name in ("héloïse".encode(), "hélène".encode("latin-1")):
        assert raw(api, "pickjob", b"hostname=" + name) == NOTHING

    assert [worker["name"] for worker in api.get("workers")] == ["héloïse", "hélène"]


@pytest.mark.parametrize(
    "text", ["a\x01b", "a\nb\r\tc", "\\n \\u00e9 \\", '\'"\'"""', "☃ 😀 é", "%s {} #"]
)
def test_any_text_is_told_as_a_literal(api: Api, text: str) -> None:
    fields = {"command": text, "dir": text, "user": text, "environment": text}
    id = api.put(fields)
    told = api.worker("pickjob", "w")

    assert ast.literal_eval(told) == (id, text, text, text, text)
    assert told.isascii() and "\n" not in told


def test_a_heartbeat_of_what_nobody_knows_is_answered_false(api: Api) -> None:
    id = api.put({"command": "true"})
    for job in (id, id + 1, 0, -1, 10**15):
        assert api.worker("heartbeat", "stranger", jobId=job, log=log(b"x")) == "false"

    assert (api.get(f"jobs/{id}")["state"], api.get(f"jobs/{id}/log")) == ("WAITING", "")


@pytest.mark.parametrize("code", [-9, 1, 255, 2**32 - 1])
def test_an_end_counts_once_however_often_it_is_told(api: Api, code: int) -> None:
    id = api.put({"command": "true"})
    picked(api)
    assert [api.worker("endjob", "w", jobId=id, errorCode=code) for _ in range(3)] == ["None"] * 3

    (event,) = api.get(f"events?job={id}")
    assert (event["state"], event["code"]) == ("ERROR", code)
    assert (api.get(f"jobs/{id}")["run_done"], api.get("workers")[0]["error"]) == (1, 1)


@pytest.mark.parametrize("fields", [{"hostname": ""}, {}, {"hostname": "x" * 256}])
def test_a_worker_needs_a_name(api: Api, fields: dict[str, str]) -> None:
    for call in ("pickjob", "heartbeat", "endjob"):
        answer = api.session.post(f"{api.url}/workers/{call}", data=fields, timeout=30)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")

    assert api.get("workers") == []


@pytest.mark.parametrize(
    ("call", "fields"),
    [
        ("heartbeat", {"jobId": "x"}),
        ("heartbeat", {"log": "a"}),
        ("endjob", {"jobId": "1", "errorCode": "x"}),
        ("pickjob", {"free_memory": "much"}),
    ],
)
def test_nonsense_is_refused(api: Api, call: str, fields: dict[str, str]) -> None:
    data = {"hostname": "w", **fields}
    answer = api.session.post(f"{api.url}/workers/{call}", data=data, timeout=30)

    assert answer.status_code == 400


def test_the_wrong_job_or_the_wrong_worker_changes_nothing(api: Api) -> None:
    id = api.put({"command": "true"})
    picked(api)
    before = api.get(f"jobs/{id}/log")
    assert api.worker("heartbeat", "other", jobId=id, log=log(b"x")) == "false"
    assert api.worker("heartbeat", "w", jobId=id + 1, log=log(b"x")) == "false"
    assert api.worker("endjob", "other", jobId=id, errorCode=1) == "None"
    assert api.worker("endjob", "w", jobId=id + 1, errorCode=1) == "None"

    assert api.get(f"jobs/{id}")["state"] == "WORKING"
    assert api.get(f"jobs/{id}/log") == before


@pytest.mark.parametrize("code", [0, 1])
def test_what_comes_late_after_the_end_does_not_run_the_job_again(api: Api, code: int) -> None:
    id = api.put({"command": "true"})
    picked(api)
    for _ in range(2):
        api.worker("endjob", "w", jobId=id, errorCode=code)
        assert api.worker("heartbeat", "w", jobId=id, log=log(b"late")) == "false"

    shown = api.get(f"jobs/{id}")
    assert (shown["state"], shown["run_done"]) == ("ERROR" if code else "FINISHED", 1)
    assert picked(api) == -1


@pytest.mark.parametrize("order", ["pausejobs", "resetjobs", "stopworkers", "delete"])
def test_a_worker_is_told_to_end_a_job_with_its_next_heartbeat(api: Api, order: str) -> None:
    id = api.put({"command": "true"})
    picked(api)
    if order == "delete":
        api.delete("jobs", [id])
    else:
        api.post(order, ["w"] if order == "stopworkers" else [id])

    assert api.worker("heartbeat", "w", jobId=id) == "false"


def test_a_worker_that_asks_for_a_job_has_given_up_the_one_it_had(api: Api) -> None:
    id = api.put({"command": "true"})
    assert (picked(api), picked(api)) == (id, id)
    shown = api.get(f"jobs/{id}")

    assert (shown["state"], shown["run_done"]) == ("WORKING", 0)
    assert [event["state"] for event in api.get(f"events?job={id}")] == ["STOPPED", "WORKING"]


def test_workers_of_both_protocols_share_the_jobs(api: Api) -> None:
    ids = [api.put({"command": "true"}) for _ in range(2)]
    assert picked(api, "old") == ids[0]
    idle = wire.Report("node", [wire.Slot("new")])
    (start,) = api.report(idle).start
    assert start.job == ids[1]
    api.worker("endjob", "old", jobId=ids[0], errorCode=0)
    assert api.worker("endjob", "old", jobId=ids[1], errorCode=0) == "None"
    assert api.report(wire.Report("node", [wire.Slot("new", start.run)])).kill == []
    ended = api.report(wire.Report("node", [wire.Slot("new")], ends=[wire.End(start.run, 3)]))

    assert ended.ended == [start.run]
    assert [job["state"] for job in api.get("jobs")] == ["FINISHED", "ERROR"]


def test_any_datagram_is_answered_so_that_workers_find_the_server(api: Api, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(10)
        for question in (b"coalition", b"", b"\xff" * 100):
            udp.sendto(question, ("127.0.0.1", port))
            assert udp.recvfrom(100)[0] == b"roxor"


def test_a_load_that_no_computer_has_is_refused(api: Api) -> None:
    load = {"hostname": "w", "load": "[" + "100," * 5000 + "0]"}
    answer = api.session.post(f"{api.url}/workers/pickjob", data=load, timeout=30)
    assert (answer.status_code, answer.json()["error"]["detail"]) == (400, {"field": "load"})
