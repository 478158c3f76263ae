"""What is known about a dataset's files, so that a page shows 100,000 images as fast as 100.

The files are the truth. The index beside them, `.lora/index.sqlite`, keeps what opening each
file showed and looks again only at files whose size or time of change is new; it can be deleted
and is rebuilt. The one thing in it that cannot be rebuilt is the journal of caption edits (see
`lora_core.datasets.journal`), which is why a damaged index is replaced by its daily copy.

On a network volume or in a synced folder the index lies on the computer's own disk (see
`lora_core.volumes`). The copy stays with the files, is made every five minutes at most, and is what
another computer begins with.

Covered: refreshing, pages of rows, filter by text, content hashes. Not covered: edits, thumbnails,
and decoding every image to find cut-off ones (the import does that).
"""

import hashlib
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, NamedTuple

from lora_core.datasets.captions import EXTENSION, caption_path
from lora_core.datasets.database import open_database, transaction
from lora_core.datasets.images import FileProblem, Listing, leads_outside, listing, look, same_stems
from lora_core.errors import DatasetError, DiskFullError, WorkspaceError
from lora_core.volumes import database_file
from lora_core.workspace import replacing

PAGE_SIZE: Final = 100
"""Rows of one page: 0.08 MB to the browser, and the most that a grid cell edit sends again."""
COPY_EVERY_S: Final = 24 * 3600.0
COPY_FROM_ELSEWHERE_EVERY_S: Final = 300.0
"""The same where the index itself is not beside the files."""


def _m001_files(db: sqlite3.Connection) -> None:
    db.execute(
        "CREATE TABLE files (name TEXT PRIMARY KEY, image_stamp TEXT NOT NULL, caption_stamp TEXT NOT NULL,"
        " width INTEGER, height INTEGER, caption TEXT, revision TEXT NOT NULL, digest TEXT,"
        " search TEXT NOT NULL, problems TEXT NOT NULL) WITHOUT ROWID"
    )
    db.execute("CREATE INDEX files_digest ON files (digest)")


def _m002_journal(db: sqlite3.Connection) -> None:
    # Captions as bytes: an undo must bring back a file that is not UTF-8, too.
    db.execute(
        "CREATE TABLE journal (id INTEGER PRIMARY KEY AUTOINCREMENT, batch INTEGER NOT NULL,"
        " name TEXT NOT NULL, before BLOB, after BLOB, at REAL NOT NULL, state TEXT NOT NULL)"
    )
    db.execute("CREATE INDEX journal_state ON journal (state, batch)")


# Append only. A step that was released has already run on someone's disk.
MIGRATIONS: Final = (_m001_files, _m002_journal)


class Row(NamedTuple):
    """One image as a page shows it."""

    name: str
    digest: str
    """SHA-256 of the file, in hex; empty when it cannot be read."""
    width: int
    height: int
    caption: str
    """First line of its caption; empty when it has none that can be read."""
    revision: str
    """Which content of the caption file this row was read from; handed back with an edit."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are wanted."""

    text: str = ""
    """Part of the name or caption, in any case; empty for all."""
    uncaptioned: bool = False
    """Only images without a caption that can be read."""

    @property
    def sql(self) -> tuple[str, tuple[str, ...]]:
        """The condition and its values."""
        where, values = "width IS NOT NULL", []
        if self.text.strip():
            where += " AND instr(search, ?) > 0"
            values.append(self.text.strip().casefold())
        if self.uncaptioned:
            where += " AND caption IS NULL"
        return where, tuple(values)


def index_file(folder: Path) -> Path:
    """The index of the dataset in `folder`: in it, or on the computer's own disk."""
    return database_file(folder / ".lora" / "index.sqlite")


@contextmanager
def open_index(folder: Path, *, extension: str = EXTENSION) -> Iterator["DatasetIndex"]:
    """The index of the dataset in `folder`, for one thread; made when there is none, mended when damaged.

    Raises:
        DatasetError: the folder does not exist.
        FileTooNewError: a newer version of the app wrote the index.
        WorkspaceError: the index cannot be read or written.
    """
    if not folder.is_dir():  # before anything is made: a folder that is not there must stay so
        raise DatasetError(
            f"The folder {folder.name} was not read.",
            why="There is no such folder.",
            fix="Choose a folder that exists.",
        )
    path, copy = index_file(folder), _copy_in(folder)
    try:
        if not path.exists() and path.parent != copy.parent:
            _begin_with(copy, path)  # the first look of this computer
        try:
            db = open_database(path, MIGRATIONS)
        except sqlite3.DatabaseError as error:
            if not _damaged(error):
                raise
            _replace_damaged(path, copy)
            db = open_database(path, MIGRATIONS)
        try:
            _copy_now_and_then(db, path, copy)
            yield DatasetIndex(folder.resolve(), db, extension)
        finally:
            db.close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise DiskFullError(f"The index of {folder.name} was not saved.") from error
        raise WorkspaceError(
            f"The index of {folder.name} could not be used.",
            why=f"The database answered: {error}.",
            fix="Close other programs that use this folder, check that it may be written to, and try again.",
        ) from error


def _damaged(error: sqlite3.DatabaseError) -> bool:
    return error.sqlite_errorcode in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}


def _copy_in(folder: Path) -> Path:
    return folder / ".lora" / "index.copy.sqlite"


def _replace_damaged(path: Path, copy: Path) -> None:
    """Move a damaged index aside and put its copy in its place, if there is one."""
    aside = path.with_name(f"index.damaged-{time.time_ns()}.sqlite")
    path.replace(aside)
    for leftover in (path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        leftover.unlink(missing_ok=True)  # they belong to the damaged file
    _begin_with(copy, path)


def _begin_with(copy: Path, path: Path) -> None:
    try:
        with replacing(path) as part:
            shutil.copyfile(copy, part)
    except FileNotFoundError:
        return  # there were no edits: what a new index finds out is all there is


def _copy_now_and_then(db: sqlite3.Connection, path: Path, copy: Path) -> None:
    beside = path.parent == copy.parent
    every_s = COPY_EVERY_S if beside else COPY_FROM_ELSEWHERE_EVERY_S
    if copy.exists() and time.time() - copy.stat().st_mtime < every_s:
        return
    if db.execute("SELECT 1 FROM journal LIMIT 1").fetchone() is None:
        return  # without edits there is nothing that could not be rebuilt
    made = path.with_name(copy.name + ".part")  # SQLite writes where its locks hold
    made.unlink(missing_ok=True)
    db.execute("VACUUM INTO ?", (str(made),))
    if beside:
        made.replace(copy)
        return
    copy.parent.mkdir(exist_ok=True)
    with replacing(copy) as part:
        shutil.copyfile(made, part)
    made.unlink()


class DatasetIndex:
    """The index of one dataset. Made by `open_index`; call `refresh` before reading from it."""

    def __init__(self, folder: Path, db: sqlite3.Connection, extension: str) -> None:
        self.folder, self.db, self.extension = folder, db, extension
        self._listing: Listing | None = None

    def refresh(self) -> None:
        """Look at every file that is new or changed since last time, and forget those that are gone.

        Raises:
            DatasetError: the folder cannot be listed.
        """
        self._listing = found = listing(self.folder)
        known = {
            row["name"]: (row["image_stamp"], row["caption_stamp"])
            for row in self.db.execute("SELECT name, image_stamp, caption_stamp FROM files")
        }
        stamps = {name: self._stamps(found, name) for name in found.images}
        # Opened outside the transaction: the first look at 10,000 files takes seconds.
        records = [self._record(name, stamp) for name, stamp in stamps.items() if known.get(name) != stamp]
        gone = known.keys() - stamps.keys()
        if records or gone:
            with transaction(self.db):
                self.db.executemany(_UPSERT, records)
                self.db.executemany("DELETE FROM files WHERE name = ?", [(name,) for name in gone])

    def _stamps(self, found: Listing, name: str) -> tuple[str, str]:
        image = found.stamps.get(name, (0, 0))
        caption = found.stamps.get(caption_path(Path(name), self.extension).name)
        return f"{image[0]}:{image[1]}", f"{caption[0]}:{caption[1]}" if caption else ""

    def _record(self, name: str, stamps: tuple[str, str]) -> tuple[object, ...]:
        path = self.folder / name
        # Before the text: if the file changes in between, an edit of it is refused and not lost.
        revision = revision_of(caption_bytes(caption_path(path, self.extension)))
        seen = look(path, self.extension)
        entry = seen.entry
        size = (entry.width, entry.height) if entry else (None, None)
        caption = entry.caption if entry else None
        search = f"{name}\n{caption or ''}".casefold()
        problems = json.dumps([asdict(problem) for problem in seen.problems], ensure_ascii=False)
        return (name, *stamps, *size, caption, revision, search, problems)

    def count(self, wanted: Filter = Filter()) -> int:
        """How many images pass the filter."""
        where, values = wanted.sql
        (count,) = self.db.execute(f"SELECT count(*) FROM files WHERE {where}", values).fetchone()  # noqa: S608  constant text
        return int(count)

    def rows(self, page: int, wanted: Filter = Filter(), *, page_size: int = PAGE_SIZE) -> tuple[Row, ...]:
        """The images of one page, from page 1, in the order of their names."""
        where, values = wanted.sql
        query = f"SELECT * FROM files WHERE {where} ORDER BY name LIMIT ? OFFSET ?"  # noqa: S608  constant text
        found = self.db.execute(query, (*values, page_size, (max(page, 1) - 1) * page_size)).fetchall()
        return self._complete(found)

    def named(self, names: Sequence[str]) -> tuple[Row, ...]:
        """The rows of these images, in this order; without those that are gone."""
        marks = ", ".join("?" * len(names))
        query = f"SELECT * FROM files WHERE width IS NOT NULL AND name IN ({marks})"  # noqa: S608  question marks
        found = {row.name: row for row in self._complete(self.db.execute(query, tuple(names)).fetchall())}
        return tuple(found[name] for name in names if name in found)

    def _complete(self, found: list[sqlite3.Row]) -> tuple[Row, ...]:
        digests = self._digests([row["name"] for row in found if row["digest"] is None])
        return tuple(
            Row(
                name=row["name"],
                digest=row["digest"] or digests.get(row["name"], ""),
                width=row["width"],
                height=row["height"],
                caption=row["caption"] or "",
                revision=row["revision"],
            )
            for row in found
        )

    def _digests(self, names: list[str]) -> dict[str, str]:
        """Hash files and keep the results; only those that are shown, because it reads every byte."""
        digests = {}
        for name in names:
            try:
                with (self.folder / name).open("rb") as file:
                    digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                continue  # it was removed while we looked; the next refresh drops the row
        if digests:
            with transaction(self.db):
                self.db.executemany(
                    "UPDATE files SET digest = ? WHERE name = ?", [(d, name) for name, d in digests.items()]
                )
        return digests

    def path_of(self, digest: str) -> Path | None:
        """The image with this content, if the index has one and it lies in the folder."""
        row = self.db.execute("SELECT name FROM files WHERE digest = ?", (digest,)).fetchone()
        if row is None or Path(row["name"]).name != row["name"]:
            return None  # an index from somebody else must not lead out of the folder
        path = self.folder / row["name"]
        return path if path.is_file() and not leads_outside(path, self.folder) else None

    def problems(self) -> tuple[FileProblem, ...]:
        """Everything wrong with the files, as of the last refresh."""
        stored = self.db.execute("SELECT problems FROM files WHERE problems != '[]' ORDER BY name")
        usable = self.db.execute("SELECT name FROM files WHERE width IS NOT NULL ORDER BY name")
        return (
            *(self._listing.problems if self._listing else ()),
            *(FileProblem(**fields) for row in stored for fields in json.loads(row["problems"])),
            *same_stems([row["name"] for row in usable]),
        )


_UPSERT: Final = (
    "INSERT INTO files (name, image_stamp, caption_stamp, width, height, caption, revision, search, problems)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET"
    " digest = CASE WHEN image_stamp = excluded.image_stamp THEN digest END,"
    " image_stamp = excluded.image_stamp, caption_stamp = excluded.caption_stamp,"
    " width = excluded.width, height = excluded.height, caption = excluded.caption,"
    " revision = excluded.revision, search = excluded.search, problems = excluded.problems"
)


def caption_bytes(path: Path) -> bytes | None:
    """All of a caption file, readable as text or not; None when there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def revision_of(content: bytes | None) -> str:
    """A short name for the content of a caption file; empty for no file."""
    return "" if content is None else hashlib.sha256(content).hexdigest()[:16]
