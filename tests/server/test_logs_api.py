"""Reading the log of a job."""

from __future__ import annotations

import base64

import pytest

from tests.server.builders import Api

TEXT = b"0123456789 caf\xc3\xa9 \xff\n"


@pytest.fixture
def job(api: Api) -> int:
    """A job that has a log."""
    id: int = api.put({"command": "true"})
    api.worker("pickjob", "w")
    api.worker("heartbeat", "w", jobId=id, log=base64.b64encode(TEXT).decode())
    return id


def whole(api: Api, job: int) -> bytes:
    return (api.datadir / "logs" / f"{job}.log").read_bytes()


def test_a_log_is_a_json_text_whatever_its_bytes_are(api: Api, job: int) -> None:
    text = api.get(f"jobs/{job}/log")

    assert text.endswith("0123456789 café \ufffd\n")
    assert text.splitlines()[0].endswith(": true")


def test_a_job_that_has_not_run_has_an_empty_log(api: Api) -> None:
    id = api.put({"command": "true"})
    answer = api.ask("GET", f"/api/jobs/{id}/log", headers={"Range": "bytes=0-"})

    assert api.get(f"jobs/{id}/log") == ""
    assert (answer.status_code, answer.headers["content-range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    ("wanted", "part"),
    [
        ("bytes=0-", slice(0, None)),
        ("bytes=0-0", slice(0, 1)),
        ("bytes=5-14", slice(5, 15)),
        ("bytes=-6", slice(-6, None)),
        ("bytes=-100000", slice(0, None)),
        ("bytes=3-100000", slice(3, None)),
    ],
)
def test_a_range_gives_those_bytes_as_they_are(
    api: Api, job: int, wanted: str, part: slice
) -> None:
    log = whole(api, job)
    first, last, _ = part.indices(len(log))
    answer = api.ask("GET", f"/api/jobs/{job}/log", headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (206, log[part])
    assert answer.headers["content-range"] == f"bytes {first}-{last - 1}/{len(log)}"


@pytest.mark.parametrize("wanted", ["bytes=100000-", "bytes=9-3", "bytes=-0"])
def test_a_range_outside_of_the_log_is_answered_with_its_size(
    api: Api, job: int, wanted: str
) -> None:
    answer = api.ask("GET", f"/api/jobs/{job}/log", headers={"Range": wanted})

    assert (answer.status_code, answer.content) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{len(whole(api, job))}"


@pytest.mark.parametrize("wanted", ["bytes=-", "bytes=a-b", "lines=1-2", "bytes=0-1,4-5"])
def test_a_range_that_is_none_is_refused(api: Api, job: int, wanted: str) -> None:
    answer = api.ask("GET", f"/api/jobs/{job}/log", headers={"Range": wanted})

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_request")


def test_a_viewer_follows_a_log_as_it_grows(api: Api, job: int) -> None:
    size = len(whole(api, job))
    for text in (b"more\n", b"and more\n"):
        api.worker("heartbeat", "w", jobId=job, log=base64.b64encode(text).decode())
        answer = api.ask("GET", f"/api/jobs/{job}/log", headers={"Range": f"bytes={size}-"})
        assert answer.content == text
        size += len(text)


def test_a_large_log_comes_whole(api: Api, job: int) -> None:
    piece = bytes(range(256)) * 1000
    for _ in range(8):
        api.worker("heartbeat", "w", jobId=job, log=base64.b64encode(piece[:200_000]).decode())
    answer = api.ask("GET", f"/api/jobs/{job}/log", headers={"Range": "bytes=0-"})

    assert answer.content == whole(api, job)
