"""Bring pictures and captions into the workspace: all that is good, and nothing half done.

The source stays as it is; its files are copied. Everything goes into a hidden folder first,
which takes its final name only when the last file is in it. On any error, a full disk or a
request to stop it is removed; after a killed process the next import removes it.

Sub folders are flattened. Every picture is decoded once, so that a broken one is named now and
not in the middle of a training. Captions are matched by name, checked and written as UTF-8.

Covered: copying, new names, limits, the report. Not covered: reading the source (see
`lora_core.datasets.sources`), taking pictures into an existing dataset, duplicates.
"""

import os
import shutil
import time
import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final
from uuid import uuid4

from lora_core.datasets.captions import EXTENSION, MAX_BYTES, caption_path, decode, first_line
from lora_core.datasets.images import OTHER_PICTURES, SUFFIXES, read_header
from lora_core.datasets.sources import UNREADABLE, Member, Refused, Source, bomb, open_source, plain, shown
from lora_core.datasets.uploads import KEPT_S, drop_upload
from lora_core.errors import CaptionError, DatasetError, DiskFullError, ImportRefusedError
from lora_core.reporting import Ended, NullReporter, Progress, Reporter
from lora_core.volumes import here, lock_file, locked, of, untouched_s
from lora_core.workspace import Workspace, disk_errors, free_name, read_json, safe_name, write_json

CAPTIONS: Final = (".txt", ".caption")
"""Endings of caption files, the preferred first; all are written as `.txt`."""
ARCHIVES: Final = frozenset({".7z", ".gz", ".rar", ".tar", ".zip"})
MAX_PICTURE_BYTES: Final = 512 << 20
"""A larger file is refused. 178 million pixels, the most that is decoded, are 512 MiB as bmp."""
RESERVE_BYTES: Final = 64 << 20
"""Room that is left on the disk, for the index and for whatever else runs."""
CHUNK: Final = 1 << 20
REPORT_FORMAT: Final = 1
_PART: Final = ".import-"
_ID_LENGTH: Final = 33  # of what tells two imports of one computer apart


@dataclass(frozen=True, slots=True)
class Taken:
    """A picture that was taken."""

    name: str
    """Its name in the dataset."""
    origin: str
    """Its path in the source."""
    captioned: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportReport:
    """What one import took and what it refused. Kept in the dataset as `.lora/import.json`."""

    name: str
    """Name of the dataset, which may differ from the one asked for."""
    source: str
    at: float
    """When it ended; unix time in seconds."""
    taken: tuple[Taken, ...]
    refused: tuple[Refused, ...]
    ignored: int
    """Files that are neither pictures nor captions."""

    @property
    def captions(self) -> int:
        return sum(picture.captioned for picture in self.taken)

    @property
    def renamed(self) -> tuple[Taken, ...]:
        return tuple(one for one in self.taken if one.name != PurePosixPath(one.origin).name)


def report_file(folder: Path) -> Path:
    return folder / ".lora" / "import.json"


def read_report(folder: Path) -> ImportReport | None:
    """How the dataset in `folder` was imported; None when it came some other way.

    Raises:
        WorkspaceError: the report is damaged, or a newer version of the app wrote it.
    """
    try:
        record: dict[str, Any] = read_json(report_file(folder), newest_format=REPORT_FORMAT)
    except FileNotFoundError:
        return None
    del record["format"]
    record["taken"] = tuple(Taken(**one) for one in record["taken"])
    record["refused"] = tuple(Refused(**one) for one in record["refused"])
    return ImportReport(**record)


def run_import(workspace: Workspace, params: dict[str, Any], reporter: Reporter) -> Path:
    """The work of an import job: `params` has `source` and `name` as text; returns the new folder.

    A source in the folder for uploads is removed at the end, however it ends.
    """
    source = workspace.absolute(params["source"])
    try:
        report = import_dataset(workspace, source, params["name"], reporter)
    finally:
        drop_upload(workspace, source)
    for refused in report.refused[:20]:
        reporter.note(f"{refused.file}: {refused.why}")
    folder = workspace.datasets / report.name
    reporter.saved(report_file(folder), len(report.taken))
    return folder


def import_dataset(
    workspace: Workspace, source: Path, name: str, reporter: Reporter | None = None
) -> ImportReport:
    """Copy the pictures and captions of a folder or zip into a new dataset.

    `name` is made safe, and unique if there is such a dataset.

    Raises:
        ImportRefusedError: the source is not there, is hostile or damaged, or has no usable picture.
        DiskFullError: the disk has no room for it.
        Ended: the reporter was asked to stop.
        In each case nothing is left behind.
    """
    reporter = reporter or NullReporter()
    _clear_abandoned(workspace)
    reporter.phase("Looking at the files")
    with (
        disk_errors("The pictures were not imported."),
        open_source(source, leave_out=workspace.root) as opened,
        _unfinished(workspace) as part,
    ):
        work = _Import(part, opened, source, reporter)
        work.run()
        return _publish(workspace, part, work, name)


def _publish(workspace: Workspace, part: Path, work: "_Import", name: str) -> ImportReport:
    final = free_name(workspace.datasets, name)
    report = ImportReport(
        name=final,
        source=plain(str(work.source_path)),
        at=time.time(),
        taken=tuple(work.taken),
        refused=(*work.source.refused, *work.refused),
        ignored=work.ignored,
    )
    (part / ".lora").mkdir()
    write_json(report_file(part), {"format": REPORT_FORMAT, **asdict(report)})
    part.rename(workspace.datasets / final)
    return report


@contextmanager
def _unfinished(workspace: Workspace) -> Iterator[Path]:
    """A hidden folder that is gone at the end unless it was renamed."""
    part = workspace.datasets / f"{_PART}{safe_name(here())}-{uuid4().hex}"
    try:
        with locked(_lock_of(part)):
            try:
                part.mkdir()
                yield part
            finally:
                shutil.rmtree(part, ignore_errors=True)
    finally:
        lock_file(_lock_of(part)).unlink(missing_ok=True)


def _lock_of(part: Path) -> Path:
    return part.with_name(part.name + ".lock")


def _clear_abandoned(workspace: Workspace) -> None:
    """Remove what imports left behind whose process was killed; a running one holds its lock.

    Where locks do not hold between computers, each one clears up after itself, and after others when a week
    has passed without a new file.
    """
    seen = safe_name(here()) if not of(workspace.datasets).locks else ""
    for part in workspace.datasets.glob(f"{_PART}*"):
        theirs = seen and part.name[len(_PART) : -_ID_LENGTH] != seen
        if not part.is_dir() or (theirs and untouched_s(part) < KEPT_S):
            continue
        try:
            with locked(_lock_of(part), timeout_s=0):
                shutil.rmtree(part, ignore_errors=True)
        except TimeoutError:
            continue
        # Nobody waits for it: an import has its lock before it has its folder.
        lock_file(_lock_of(part)).unlink(missing_ok=True)


Key = tuple[str, str]
"""Folder and stem of a file in the source; a picture and its caption share it."""


def _key(path: PurePosixPath) -> Key:
    return unicodedata.normalize("NFC", str(path.parent)), unicodedata.normalize("NFC", path.stem)


def _folded(key: Key) -> Key:
    return key[0].casefold(), key[1].casefold()


@dataclass
class _Import:
    """One import on its way: what was taken so far."""

    part: Path
    source: Source
    source_path: Path
    reporter: Reporter
    taken: list[Taken] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ignored: int = 0
    unpacked_bytes: int = 0
    stems: Counter[str] = field(default_factory=Counter)

    def run(self) -> None:
        pictures, captions = self._sort()
        self._check_room(pictures)
        self.reporter.phase("Copying and checking the pictures")
        started_s = time.monotonic()
        for done, picture in enumerate(pictures):
            request = self.reporter.request()
            if request:
                raise Ended(request, step=done)
            self._take(picture, captions)
            self.reporter.progress(_progress(done + 1, len(pictures), time.monotonic() - started_s))
        if not self.taken:
            raise self._nothing()

    def _sort(self) -> tuple[list[Member], dict[Key, Member]]:
        """The pictures, and the captions by the pictures they belong to."""
        pictures = [one for one in self.source.members if one.path.suffix.lower() in SUFFIXES]
        keys = {_key(one.path) for one in pictures}
        folded = {_folded(key): key for key in keys}
        captions: dict[Key, Member] = {}
        for one in self.source.members:
            suffix = one.path.suffix.lower()
            if suffix in CAPTIONS:
                key = _key(one.path)
                key = key if key in keys else folded.get(_folded(key), key)
                if key not in keys:
                    self._refuse(one, "No picture has its name.")
                elif key not in captions or suffix == CAPTIONS[0]:
                    captions[key] = one
            elif suffix in OTHER_PICTURES:
                self._refuse(one, f"Training does not read {suffix} files. Save it as png or jpg.")
            elif suffix in ARCHIVES:
                self._refuse(one, "An archive inside is not opened. Import it by itself.")
            elif suffix not in SUFFIXES:
                self.ignored += 1
        return pictures, captions

    def _refuse(self, member: Member, why: str) -> None:
        self.refused.append(Refused(shown(str(member.path)), why))

    def _check_room(self, pictures: list[Member]) -> None:
        # Asked before and not only met on the way: half an hour of copying ends better this way.
        needed = sum(picture.size_bytes for picture in pictures) + RESERVE_BYTES
        free = shutil.disk_usage(self.part).free
        if needed > free:
            raise DiskFullError(
                f"The pictures need {needed >> 20} MiB and {free >> 20} MiB are free.",
                safe="Nothing was copied.",
            )

    def _take(self, picture: Member, captions: dict[Key, Member]) -> None:
        target = self.part / self._free_name(picture.path)
        try:
            self._copy(picture, target)
            read_header(target, verify=True)
        except _TooLargeError:
            self._refuse(picture, f"It is larger than {MAX_PICTURE_BYTES >> 20} MiB.")
        except ImportRefusedError:
            raise  # it is about the whole source
        except DatasetError as error:
            self._refuse(picture, error.why)
        except _DamagedError as error:
            self._refuse(picture, str(error))
        else:
            captioned = self._caption(captions.get(_key(picture.path)), target)
            self.taken.append(Taken(target.name, plain(str(picture.path)), captioned))
            return
        target.unlink(missing_ok=True)

    def _free_name(self, path: PurePosixPath) -> str:
        """A name whose stem no other picture has in any case: the caption is found by the stem."""
        base = safe_name(path.stem, fallback="picture")
        stem = base
        while self.stems[stem.casefold()]:
            self.stems[base.casefold()] += 1
            stem = f"{base}-{self.stems[base.casefold()]}"
        self.stems[stem.casefold()] = 1
        return stem + path.suffix.lower()

    def _copy(self, member: Member, target: Path) -> None:
        """Copy while counting what really comes out, whatever the source claimed."""
        size = 0
        with target.open("wb") as file:
            for chunk in _chunks(member):
                size += len(chunk)
                self.unpacked_bytes += len(chunk)
                if self.source.byte_limit is not None and self.unpacked_bytes > self.source.byte_limit:
                    raise bomb(self.source_path)
                if size > MAX_PICTURE_BYTES:
                    raise _TooLargeError
                file.write(chunk)
            _flush(file)

    def _caption(self, member: Member | None, image: Path) -> bool:
        if member is None:
            return False
        try:
            data = b"".join(_chunks(member, limit=MAX_BYTES + 1))
            text = decode(data, member.path.name)
            first_line(text, member.path.name)
        except CaptionError as error:
            self._refuse(member, error.why)
            return False
        except _DamagedError as error:
            self._refuse(member, str(error))
            return False
        with caption_path(image, EXTENSION).open("wb") as file:
            file.write(text.encode())
            _flush(file)
        return True

    def _nothing(self) -> ImportRefusedError:
        refused = [*self.source.refused, *self.refused]
        named = " ".join(f"{one.file}: {one.why}" for one in refused[:5])
        more = f" And {len(refused) - 5} more." if len(refused) > 5 else ""
        return ImportRefusedError(
            f"{shown(self.source_path.name)} was not imported.",
            why=f"No picture in it can be used. {named}{more}".strip(),
            fix="Choose a folder or zip with png, jpg, webp or bmp pictures.",
        )


class _TooLargeError(Exception):
    """One picture is beyond `MAX_PICTURE_BYTES`."""


class _DamagedError(Exception):
    """One file of the source cannot be read; its text is the reason, for the report."""


def _chunks(member: Member, *, limit: int | None = None) -> Iterator[bytes]:
    """The bytes of one file, at most `limit`.

    Only reading is guarded here, so that an error of the disk written to is never taken for one
    of the source.
    """
    left = limit if limit is not None else MAX_PICTURE_BYTES + CHUNK
    try:
        with member.open() as file:
            while left > 0 and (chunk := file.read(min(CHUNK, left))):
                left -= len(chunk)
                yield chunk
    except UNREADABLE as error:
        raise _DamagedError("It is damaged in its source, or cannot be read.") from error


def _flush(file: IO[bytes]) -> None:
    # Before the folder gets the name that says it is whole: a power cut must not leave empty files in it.
    file.flush()
    os.fsync(file.fileno())


def _progress(done: int, total: int, elapsed_s: float) -> Progress:
    pace = done / elapsed_s if elapsed_s > 0 else None
    return Progress(step=done, total=total, steps_per_s=pace, eta_s=(total - done) / pace if pace else None)
