"""Which version of the tables a database has, making them, and bringing them up to date."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, func, inspect, select, table

from coalition.errors import StoreError
from coalition.store.schema import beside, counters, farm, metadata

MIGRATIONS = Path(__file__).parent / "migrations"

VERSION_TABLE = "alembic_version"


def _config(connection: Connection | None = None, prefix: str = "") -> Config:
    config = Config()
    # A percent sign would be taken for the start of another option's name.
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    config.attributes["version_table"] = prefix + VERSION_TABLE
    return config


def revisions() -> list[str]:
    """Give all versions this program knows, the oldest first."""
    script = ScriptDirectory.from_config(_config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def revision(connection: Connection) -> str | None:
    """Give the version of the tables, or None if there are none or they are not ours."""
    return MigrationContext.configure(connection).get_current_revision()


def is_current(connection: Connection) -> bool:
    """Say whether the tables have the version of this program."""
    return revision(connection) == revisions()[-1]


def names_there(connection: Connection, names: Iterable[str]) -> dict[str, str]:
    """Give those of some tables that are there: name -> what it is called there.

    With MySQL's lower_case_table_names=1, as on Windows, the server keeps names in lower case.
    """
    there = inspect(connection).get_table_names()
    called = {name.lower(): name for name in there} | {name: name for name in there}
    found = {name: called.get(name) or called.get(name.lower()) for name in names}
    return {name: there for name, there in found.items() if there}


def has_rows(connection: Connection) -> bool:
    """Say whether any table holds anything that somebody put there."""
    filled = (
        select(func.count())
        .select_from(counters)
        .where(counters.c.name == "jobs", counters.c.value > 0)
    )
    ours = names_there(connection, [VERSION_TABLE, farm.name, counters.name])
    others = set(inspect(connection).get_table_names()) - set(ours.values())
    questions = [select(func.count()).select_from(table(name)) for name in others]
    if counters.name in ours:
        questions.append(filled)
    return any(map(connection.scalar, questions))


def is_unmade(connection: Connection) -> bool:
    """Say whether there is no table yet, or only empty ones of ours: a creation was cut short."""
    names = set(inspect(connection).get_table_names())
    ours = names_there(connection, [*metadata.tables, VERSION_TABLE])
    if revision(connection) is not None or not names <= set(ours.values()):
        return False
    return not names or not has_rows(connection)


def check_known(connection: Connection) -> None:
    """Raise StoreError unless the tables are those of a version this program knows."""
    version = revision(connection)
    if version in revisions():
        return
    if version is not None:
        raise StoreError(f"the database has version {version}, newer than this program")
    refuse_40(connection)
    raise StoreError("the database holds tables that are not Coalition's")


def is_40(connection: Connection) -> bool:
    """Say whether the tables are those of Coalition 4.0.

    Its version 1 has a table for its version. All tables of version 0 have names of ours, but its
    jobs have columns that ours have not.
    """
    there = names_there(connection, ["Jobs", "Migrations"])
    if "Jobs" not in there or revision(connection) is not None:
        return False
    return "Migrations" in there or "h_affinity" in {
        column["name"] for column in inspect(connection).get_columns(there["Jobs"])
    }


def refuse_40(connection: Connection) -> None:
    """Raise StoreError if the tables are those of Coalition 4.0."""
    if is_40(connection):
        raise StoreError(
            "this is a database of Coalition 4.0; run server.py --migrate", version="4.0"
        )


def highest_run(connection: Connection) -> int:
    """Give the highest run number ever given, 0 if there is no database yet."""
    if is_unmade(connection):
        return 0
    return connection.scalar(select(counters.c.value).where(counters.c.name == "runs")) or 0


def identity(connection: Connection) -> str:
    """Give the identity of the farm, nothing if it has none yet."""
    if is_unmade(connection) or not inspect(connection).has_table(farm.name):
        return ""
    return connection.scalar(select(farm.c.identity)) or ""


def create(
    connection: Connection,
    highest_run: int = 0,
    known_as: str = "",
    *,
    highest_job: int = 0,
    prefix: str = "",
) -> None:
    """Make all tables anew; those of ours that are there go first, with what they hold.

    They are those of the farm with the identity `known_as`, of a new one without. With a `prefix`
    they are made beside those that are there: see schema.beside().
    """
    described = beside(prefix) if prefix else metadata
    described.drop_all(connection)
    described.create_all(connection)
    values = {"jobs": highest_job, "runs": highest_run}
    rows = [{"name": name, "value": value} for name, value in values.items()]
    connection.execute(described.tables[prefix + counters.name].insert(), rows)
    # Chance that is no argument: nothing depends on which text it is, and a migration gets none.
    identity = {"identity": known_as or uuid4().hex}
    connection.execute(described.tables[prefix + farm.name].insert(), identity)
    command.stamp(_config(connection, prefix), "head", purge=True)


def upgrade(connection: Connection, target: str = "head") -> None:
    """Bring the tables to the version `target`."""
    command.upgrade(_config(connection), target)
