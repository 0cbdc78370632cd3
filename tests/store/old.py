"""Databases of Coalition 4.0, made of the statements in tests/data/coalition40."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, inspect, make_url

DATA = Path(__file__).parents[1] / "data" / "coalition40"

VERSIONS = (0, 1)


def make_old(url: str, version: int = 1) -> None:
    """Make a database of 4.0 at the URL of an empty one."""
    kind = "sqlite" if url.startswith("sqlite") else "mysql"
    for name in (kind, "rows", f"version-{version}", f"{kind}-only"):
        run(url, (DATA / f"{name}.sql").read_text("utf-8"))


def run(url: str, script: str) -> None:
    """Run statements; each ends with a semicolon at the end of a line."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(str(make_url(url).database))) as connection:
            connection.executescript(script)
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        for statement in script.split(";\n"):
            lines = [line for line in statement.splitlines() if not line.startswith("--")]
            if "".join(lines).strip():
                options = {"no_parameters": True}
                connection.exec_driver_sql("\n".join(lines), execution_options=options)
    engine.dispose()


def dump(url: str, prefix: str = "") -> dict[str, list[Any]]:
    """All rows of all tables whose names begin with `prefix`, by the rest of their names."""
    engine = create_engine(url)
    with engine.connect() as connection:
        names = [name for name in inspect(connection).get_table_names() if name.startswith(prefix)]
        if url.startswith("sqlite"):  # not all of its texts are UTF-8
            connection.connection.driver_connection.text_factory = bytes  # type: ignore[union-attr]
        questions = {name: f"SELECT * FROM {name}" for name in names}
        found = {
            name.removeprefix(prefix): sorted(map(repr, connection.exec_driver_sql(question)))
            for name, question in questions.items()
        }
    engine.dispose()
    return found
