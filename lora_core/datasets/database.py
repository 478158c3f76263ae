"""One small SQLite file: opened the same way everywhere, brought up to date, all or nothing.

Covered: WAL, migrations, transactions, a damaged file moved aside. Not covered: what the tables
hold (see `lora_core.datasets.index` and `lora_core.datasets.journal`).
"""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from lora_core.errors import FileTooNewError
from lora_core.workspace import disk_errors

Migration = Callable[[sqlite3.Connection], None]
WAIT_S: Final = 10.0
"""How long one writer waits for another, such as a second browser tab."""


def open_database(path: Path, migrations: Sequence[Migration]) -> sqlite3.Connection:
    """Open or make the file and run the migrations that it has not had.

    Raises:
        FileTooNewError: a newer version of the app wrote it.
        sqlite3.DatabaseError: it is damaged.
        DiskFullError: the disk is full.
    """
    with disk_errors(f"The file {path.name} was not opened."):
        path.parent.mkdir(parents=True, exist_ok=True)
    # Autocommit: transactions are begun by name in `transaction`, never by the driver's guess.
    db = sqlite3.connect(path, timeout=WAIT_S, isolation_level=None)
    try:
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # the journal of edits must outlive a power cut
        if _version(db) != len(migrations):
            _migrate(db, migrations, path.name)
    except BaseException:
        db.close()
        raise
    return db


def _version(db: sqlite3.Connection) -> int:
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def _migrate(db: sqlite3.Connection, migrations: Sequence[Migration], name: str) -> None:
    with transaction(db):  # the version is read inside, so a second caller finds it done
        done = _version(db)
        if done > len(migrations):
            raise FileTooNewError(name, done, len(migrations))
        for step in migrations[done:]:
            step(db)
        db.execute(f"PRAGMA user_version = {len(migrations)}")


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """All of the block or none of it."""
    # IMMEDIATE takes the write lock now: a late upgrade from a read fails under load.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:  # a page run that is stopped in the middle must roll back too
        db.rollback()
        raise
    db.commit()
