"""What `make demo` promises."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from coalition.cli import demo


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_demo_renders_its_film_and_returns_at_once_under_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CI", "true")
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    monkeypatch.setattr(demo, "FRAMES", 4)

    assert demo.main() == 0

    film = tmp_path / demo.FILM
    with Image.open(film) as picture:
        assert (getattr(picture, "n_frames", 1), picture.size) == (4, (640, 360))
    told = capfd.readouterr().out
    assert film.as_uri() in told
    assert "web page: http://127.0.0.1:" in told
