"""Edits of captions, each of which can be undone, also tomorrow and after a crash.

Every edit is written to the journal before the file is touched. A crash in between leaves an
edit in the journal whose file is still as before; undoing it then changes nothing.

An edit names the content of the caption that the user saw. If the file has changed since, the
edit is refused, and both texts are kept: the file as it is, the user's text in the journal until
it is settled.

Covered: applying, undo, redo, conflicts. Not covered: merging two texts, and edits made by other
programs (they are no part of the journal; undo never overwrites them).
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from lora_core.datasets.captions import caption_path, decode
from lora_core.datasets.database import transaction
from lora_core.datasets.index import DatasetIndex, caption_bytes, revision_of
from lora_core.errors import CaptionError, WorkspaceError
from lora_core.volumes import locked
from lora_core.workspace import write_atomic

LOCK_WAIT_S: Final = 10.0

State = Literal["live", "undone", "dropped", "refused"]
"""`live`: done, can be undone. `undone`: can be done again. `dropped`: neither any more.
`refused`: never written, because the file had changed; waits for the user's choice."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptionEdit:
    """What a user wants a caption to be."""

    name: str
    """File name of the image."""
    caption: str
    """The new first line; blank removes the caption file."""
    seen: str
    """`Row.revision` of the row that the user saw."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conflict:
    """An edit that was not written because the caption had changed since it was read."""

    id: int
    name: str
    mine: str
    """What the user wrote."""
    theirs: str
    """What the file holds now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Applied:
    """What an edit, an undo or a redo changed."""

    changed: tuple[str, ...] = ()
    """Names of the images whose caption is now different."""
    left_alone: tuple[str, ...] = ()
    """Names of images whose caption was not touched, because another program had changed it."""
    revisions: tuple[tuple[str, str, str], ...] = ()
    """For each change the image's name, the revision before and the revision after."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One step of the journal: captions that were changed together."""

    at: float
    """Unix time in seconds."""
    names: tuple[str, ...]


def apply_edits(index: DatasetIndex, edits: Sequence[CaptionEdit]) -> Applied:
    """Write the captions of `edits` as one step; those whose file changed meanwhile are refused.

    An edit that changes nothing leaves no trace. Unknown names are left alone. Of several edits of
    one image the last counts.

    Raises:
        DiskFullError: the disk is full; the captions not yet written are as they were.
    """
    with _only_writer(index):
        images = {row["name"] for row in index.db.execute("SELECT name FROM files")}
        left_alone, planned = [], []
        for edit in {edit.name: edit for edit in edits}.values():
            if edit.name not in images:
                left_alone.append(edit.name)
                continue
            before = caption_bytes(_file(index, edit.name))
            after = _with_first_line(before, edit.caption)
            if revision_of(before) != edit.seen:
                left_alone.append(edit.name)
                _add(index, [(edit.name, before, after)], state="refused")
            elif after != before:
                planned.append((edit.name, before, after))
        ids = _add(index, planned, state="live") if planned else []
        revisions = _write(index, ids, planned)
    index.refresh()
    return Applied(
        changed=tuple(name for name, _, _ in planned), left_alone=tuple(left_alone), revisions=revisions
    )


def undo_last(index: DatasetIndex) -> Applied | None:
    """Take back the newest step; None when there is none.

    A caption that another program changed since is left alone.

    Raises:
        DiskFullError: the disk is full; the captions not yet written are as they were.
    """
    return _move(index, "SELECT max(batch) FROM journal WHERE state = 'live'", back=True)


def redo_last(index: DatasetIndex) -> Applied | None:
    """Do the step again that was undone last; None when there is none, or an edit came after."""
    return _move(index, "SELECT min(batch) FROM journal WHERE state = 'undone'", back=False)


def last_change(index: DatasetIndex, state: Literal["live", "undone"] = "live") -> Change | None:
    """The step that `undo_last` would take back, or with `undone` the one `redo_last` would do again."""
    pick = "max" if state == "live" else "min"
    rows = index.db.execute(
        f"SELECT name, at FROM journal WHERE state = ? AND batch ="  # noqa: S608  constant text
        f" (SELECT {pick}(batch) FROM journal WHERE state = ?) ORDER BY id",
        (state, state),
    ).fetchall()
    return Change(at=rows[0]["at"], names=tuple(row["name"] for row in rows)) if rows else None


def conflicts(index: DatasetIndex) -> tuple[Conflict, ...]:
    """Every refused edit that is not settled, oldest first."""
    rows = index.db.execute("SELECT id, name, after FROM journal WHERE state = 'refused' ORDER BY id")
    return tuple(
        Conflict(
            id=row["id"],
            name=row["name"],
            mine=_shown(row["after"]),
            theirs=_shown(caption_bytes(_file(index, row["name"]))),
        )
        for row in rows
    )


def settle(index: DatasetIndex, conflict: Conflict, *, use_mine: bool) -> Applied:
    """End a conflict: write the user's text over what the file holds now, or drop the text."""
    applied = Applied()
    if use_mine:
        seen = revision_of(caption_bytes(_file(index, conflict.name)))
        applied = apply_edits(index, [CaptionEdit(name=conflict.name, caption=conflict.mine, seen=seen)])
    _mark(index, conflict.id, "dropped")  # last: on a full disk the text is still waiting here
    return applied


def _move(index: DatasetIndex, newest: str, *, back: bool) -> Applied | None:
    changed, left_alone, revisions = [], [], []
    with _only_writer(index):
        (batch,) = index.db.execute(newest).fetchone()
        if batch is None:
            return None
        old, new = ("live", "undone") if back else ("undone", "live")
        for row in index.db.execute(
            "SELECT * FROM journal WHERE batch = ? AND state = ? ORDER BY id", (batch, old)
        ).fetchall():
            path = _file(index, row["name"])
            source, target = (row["after"], row["before"]) if back else (row["before"], row["after"])
            now, state = caption_bytes(path), new
            if now == source:
                _put(path, target)
                changed.append(row["name"])
                revisions.append((row["name"], revision_of(now), revision_of(target)))
            elif now != target:  # a file that is already as wanted needs nothing
                left_alone.append(row["name"])
                state = "dropped"
            _mark(index, row["id"], state)
    index.refresh()
    return Applied(changed=tuple(changed), left_alone=tuple(left_alone), revisions=tuple(revisions))


Plan = tuple[str, bytes | None, bytes | None]
"""Name of an image, its caption file before and after; None for no file."""


def _add(index: DatasetIndex, plans: Sequence[Plan], *, state: State) -> list[int]:
    """Write the plans to the journal as one batch; what was undone can no longer be done again."""
    with transaction(index.db):
        (batch,) = index.db.execute("SELECT coalesce(max(batch), 0) + 1 FROM journal").fetchone()
        if state == "live":
            index.db.execute("UPDATE journal SET state = 'dropped' WHERE state = 'undone'")
        ids = []
        for name, before, after in plans:
            cursor = index.db.execute(
                "INSERT INTO journal (batch, name, before, after, at, state) VALUES (?, ?, ?, ?, ?, ?)",
                (batch, name, before, after, time.time(), state),
            )
            ids.append(int(cursor.lastrowid or 0))
    return ids


def _write(index: DatasetIndex, ids: list[int], plans: Sequence[Plan]) -> tuple[tuple[str, str, str], ...]:
    written = 0
    try:
        for name, _, after in plans:
            _put(_file(index, name), after)
            written += 1
    finally:
        for id_ in ids[written:]:  # the disk was full, or the system refused
            _mark(index, id_, "dropped")
    return tuple((name, revision_of(before), revision_of(after)) for name, before, after in plans)


def _mark(index: DatasetIndex, id_: int, state: str) -> None:
    index.db.execute("UPDATE journal SET state = ? WHERE id = ?", (state, id_))


def _put(path: Path, content: bytes | None) -> None:
    if content is None:
        path.unlink(missing_ok=True)
    else:
        write_atomic(path, content)


def _file(index: DatasetIndex, name: str) -> Path:
    # Only the last part: a journal from somebody else must not lead out of the folder.
    return caption_path(index.folder / Path(name).name, index.extension)


@contextmanager
def _only_writer(index: DatasetIndex) -> Iterator[None]:
    # Between reading a caption and replacing it no other tab may write it.
    try:
        with locked(index.folder / ".lora" / "edit.lock", timeout_s=LOCK_WAIT_S):
            yield
    except TimeoutError as error:
        raise WorkspaceError(
            "The captions were not saved.",
            why="Another window or command has been writing captions of this dataset for a while.",
            fix="Wait until it is done. Then do it again.",
        ) from error


def _with_first_line(before: bytes | None, caption: str) -> bytes | None:
    """The caption file with a new first line; further lines stay. None removes it."""
    line = " ".join(caption.split("\n")).strip()
    if not line:
        return None
    try:
        _, _, rest = decode(before or b"", "").partition("\n")
    except CaptionError:
        rest = ""  # not text: there are no lines to keep
    return f"{line}\n{rest}".encode()


def _shown(content: bytes | None) -> str:
    return "" if content is None else content.decode("utf-8", "replace").split("\n", 1)[0].strip()
