"""The main job on real work: a film rendered with POV-Ray and joined with ffmpeg."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from coalition.cli.programs import control
from tests.acceptance.farm import get, running_node, running_server, wait

SCENE = Path("/usr/share/doc/povray/examples/animations/camera2")
FRAMES = 10
WIDTH, HEIGHT = 160, 120


@pytest.fixture(autouse=True)
def tools() -> None:
    missing = [name for name in ("povray", "ffmpeg", "ffprobe") if shutil.which(name) is None]
    missing += [] if SCENE.is_dir() else [str(SCENE)]
    if missing and os.environ.get("CI"):
        pytest.fail(f"missing under CI: {', '.join(missing)}")
    if missing:
        pytest.skip(f"missing on this computer: {', '.join(missing)}")


def submit(url: str, folder: Path) -> tuple[str, str]:
    """Submit the frames and the join; return the ids of the frames' group and of the join."""
    frames = control(url, "add", "-t", "frames")
    for number in range(1, FRAMES + 1):
        render = (
            f"povray camera2.ini +KFF{FRAMES} +SF{number} +EF{number} +W{WIDTH} +H{HEIGHT}"
            f" +WT1 -D +O{shlex.quote(str(folder))}/"
        )
        pattern = r"pixels \(%percent%\)"
        place = ["-P", frames, "-t", f"frame {number}", "-d", str(SCENE)]
        control(url, "add", *place, "--globalprogress", pattern, "-c", render)
    encode = "ffmpeg -loglevel error -framerate 12 -i camera2%02d.png -c:v mpeg4 film.mp4"
    join = control(url, "add", "-t", "join", "-D", frames, "-d", str(folder), "-c", encode)
    return frames, join


def probed(film: Path) -> dict[str, object]:
    entries = "stream=nb_read_frames,width,height"
    probe = ["ffprobe", "-v", "error", "-count_frames", "-show_entries", entries, "-of", "json"]
    run = subprocess.run([*probe, str(film)], capture_output=True, check=True)
    (stream,) = json.loads(run.stdout)["streams"]
    return {name: int(stream[name]) for name in ("nb_read_frames", "width", "height")}


def test_two_nodes_render_an_animation_and_join_it(
    store_url: str, free_port: int, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{free_port}"
    film = tmp_path / "film"
    film.mkdir()
    with (
        running_server(tmp_path / "server", store_url, free_port),
        running_node(tmp_path / "left", url, "left"),
        running_node(tmp_path / "right", url, "right"),
    ):
        frames, join = submit(url, film)
        assert wait(url, join, seconds=120) == 0
        rendered = get(url, f"jobs/{frames}/children")
        joined = get(url, f"jobs/{join}")

    assert probed(film / "film.mp4") == {"nb_read_frames": FRAMES, "width": WIDTH, "height": HEIGHT}
    assert [(job["state"], job["progress"]) for job in rendered] == [("FINISHED", 1.0)] * FRAMES
    assert {job["worker"] for job in rendered} == {"left", "right"}
    last_frame = max(job["start_time"] + job["duration"] for job in rendered)
    assert joined["start_time"] >= last_frame - 1  # durations are told in whole seconds
