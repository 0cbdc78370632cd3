"""What Prometheus reads of a server."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.server.builders import Api

Figures = dict[tuple[str, tuple[str, ...]], float]


def figures(api: Api) -> Figures:
    answer = api.ask("GET", "/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_jobs_workers_and_runs_are_counted(api: Api) -> None:
    before = figures(api)
    jobs = [api.put({"command": "true", "title": title}) for title in "abc"]
    for name in ("sun", "moon"):
        api.worker("pickjob", name)
    api.worker("endjob", "sun", jobId=jobs[0], errorCode=3)
    after = figures(api)

    def grown(name: str, *labels: str) -> float:
        return after[name, labels] - before[name, labels]

    assert after["coalition_jobs", ("WORKING",)] == 1
    assert after["coalition_jobs", ("ERROR",)] == 1
    assert after["coalition_jobs", ("WAITING",)] == 1
    assert after["coalition_workers", ("1", "WORKING")] == 1
    assert after["coalition_workers", ("1", "WAITING")] == 1
    assert grown("coalition_jobs_created_total") == 3
    assert grown("coalition_runs_begun_total") == 2
    assert grown("coalition_runs_ended_total", "ERROR") == 1
    assert grown("coalition_journal_batches_total") >= 1
    assert after["coalition_healthy", ()] == 1
    assert after["process_resident_memory_bytes", ()] > 1e6
