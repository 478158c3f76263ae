"""The index of a dataset, and the journal of caption edits."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from lora_core.datasets import index as index_module
from lora_core.datasets.images import Look, look, scan
from lora_core.datasets.index import DatasetIndex, Filter, index_file, open_index
from lora_core.datasets.journal import (
    CaptionEdit,
    apply_edits,
    conflicts,
    last_change,
    redo_last,
    settle,
    undo_last,
)
from lora_core.errors import DatasetError, DiskFullError, FileTooNewError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, caption in enumerate(["red cat", "blue dog", None]):
        Image.new("RGB", (8 + number, 8), (number, 0, 0)).save(tmp_path / f"{number}.png")
        if caption:
            (tmp_path / f"{number}.txt").write_text(caption, "utf-8")
    return tmp_path


@pytest.fixture
def index(folder: Path) -> Iterator[DatasetIndex]:
    with open_index(folder) as opened:
        opened.refresh()
        yield opened


def captions(index: DatasetIndex) -> dict[str, str]:
    return {row.name: row.caption for row in index.rows(1)}


def edit(index: DatasetIndex, name: str, caption: str) -> CaptionEdit:
    (seen,) = [row.revision for row in index.rows(1) if row.name == name]
    return CaptionEdit(name=name, caption=caption, seen=seen)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.txt")}


# --- what is listed ---------------------------------------------------------------------------


def test_rows_have_size_caption_and_hash(index: DatasetIndex) -> None:
    first, second, third = index.rows(1)
    assert (first.name, first.width, first.height, first.caption) == ("0.png", 8, 8, "red cat")
    assert (third.caption, third.revision) == ("", "")
    assert len({first.digest, second.digest, third.digest}) == 3
    assert index.path_of(second.digest) == index.folder / "1.png"
    assert index.path_of("0" * 64) is None


def test_rows_are_found_by_name_in_the_order_asked_for(index: DatasetIndex) -> None:
    assert [row.name for row in index.named(["2.png", "gone.png", "0.png"])] == ["2.png", "0.png"]


def test_pages_divide_the_rows_without_gap_or_overlap(index: DatasetIndex) -> None:
    names = [row.name for page in (1, 2, 3) for row in index.rows(page, page_size=2)]
    assert names == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        (Filter(text="DOG"), ["1.png"]),
        (Filter(text="2.PNG"), ["2.png"]),
        (Filter(text="%"), []),
        (Filter(text="  "), ["0.png", "1.png", "2.png"]),
        (Filter(uncaptioned=True), ["2.png"]),
    ],
)
def test_a_filter_finds_names_and_captions_in_any_case(
    index: DatasetIndex, wanted: Filter, names: list[str]
) -> None:
    assert [row.name for row in index.rows(1, wanted)] == names
    assert index.count(wanted) == len(names)


def test_changes_made_by_other_programs_are_seen_at_the_next_refresh(
    index: DatasetIndex, folder: Path
) -> None:
    old_digest = index.rows(1)[1].digest
    (folder / "0.png").unlink()
    Image.new("RGB", (99, 50)).save(folder / "1.png")
    (folder / "2.txt").write_text("added outside", "utf-8")
    Image.new("RGB", (5, 5)).save(folder / "3.png")
    index.refresh()
    assert captions(index) == {"1.png": "blue dog", "2.png": "added outside", "3.png": ""}
    assert index.rows(1)[0].width == 99
    assert index.rows(1)[0].digest != old_digest


def test_files_that_did_not_change_are_not_opened_again(
    index: DatasetIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    def watched(path: Path, extension: str) -> Look:
        opened.append(path.name)
        return look(path, extension)

    monkeypatch.setattr(index_module, "look", watched)
    index.refresh()
    assert opened == []
    os.utime(folder / "1.txt", ns=(1, 1))
    index.refresh()
    assert opened == ["1.png"]


def test_problems_are_the_same_as_a_scan_finds(index: DatasetIndex, folder: Path) -> None:
    (folder / "bad.png").write_bytes(b"no picture")
    (folder / "1.txt").write_bytes(b"\xff\xfe")
    Image.new("RGB", (5, 5)).save(folder / "1.jpg")
    Image.new("RGB", (5, 5)).save(folder / "anim.gif")
    index.refresh()
    scanned = scan(folder).problems
    assert sorted(index.problems(), key=repr) == sorted(scanned, key=repr)
    assert {problem.kind for problem in scanned} == {
        "broken",
        "caption",
        "same_stem",
        "format",
        "uncaptioned",
    }


# --- edits ------------------------------------------------------------------------------------


def test_an_edit_is_on_disk_at_once(index: DatasetIndex, folder: Path) -> None:
    applied = apply_edits(index, [edit(index, "0.png", "green cat"), edit(index, "2.png", "a bird")])
    assert applied.changed == ("0.png", "2.png")
    assert contents(folder) == {"0.txt": b"green cat\n", "1.txt": b"blue dog", "2.txt": b"a bird\n"}
    assert captions(index)["0.png"] == "green cat"


def test_an_emptied_caption_removes_its_file(index: DatasetIndex, folder: Path) -> None:
    apply_edits(index, [edit(index, "0.png", "  ")])
    assert not (folder / "0.txt").exists()


def test_further_lines_of_a_caption_stay(index: DatasetIndex, folder: Path) -> None:
    (folder / "0.txt").write_text("first\nsecond\n", "utf-8")
    index.refresh()
    apply_edits(index, [edit(index, "0.png", "new")])
    assert (folder / "0.txt").read_text("utf-8") == "new\nsecond\n"


def test_of_two_edits_of_one_picture_the_last_counts_and_one_undo_takes_both_back(
    index: DatasetIndex, folder: Path
) -> None:
    apply_edits(index, [edit(index, "0.png", "first"), edit(index, "0.png", "second")])
    assert captions(index)["0.png"] == "second"
    undo_last(index)
    assert (folder / "0.txt").read_bytes() == b"red cat"


def test_an_edit_that_changes_nothing_leaves_no_trace(index: DatasetIndex, folder: Path) -> None:
    apply_edits(index, [edit(index, "0.png", "green cat")])
    apply_edits(index, [edit(index, "0.png", "green cat")])
    assert undo_last(index) is not None
    assert last_change(index) is None


def test_undo_brings_back_the_same_bytes_also_after_a_restart(folder: Path) -> None:
    (folder / "0.txt").write_bytes("rot\xe9\r\n".encode("latin-1"))
    before = contents(folder)
    with open_index(folder) as index:
        index.refresh()
        apply_edits(
            index, [edit(index, "0.png", "red"), edit(index, "1.png", ""), edit(index, "2.png", "bird")]
        )
    with open_index(folder) as index:
        undone = undo_last(index)
    assert undone is not None
    assert set(undone.changed) == {"0.png", "1.png", "2.png"}
    assert contents(folder) == before


def test_undo_goes_back_step_by_step_and_redo_forward(index: DatasetIndex) -> None:
    for text in ("one", "two", "three"):
        apply_edits(index, [edit(index, "0.png", text)])
    seen = []
    while undo_last(index):
        seen.append(captions(index)["0.png"])
    assert seen == ["two", "one", "red cat"]
    seen = []
    while redo_last(index):
        seen.append(captions(index)["0.png"])
    assert seen == ["one", "two", "three"]


def test_a_new_edit_ends_what_could_be_done_again(index: DatasetIndex) -> None:
    apply_edits(index, [edit(index, "0.png", "one")])
    undo_last(index)
    assert last_change(index, "undone") is not None
    apply_edits(index, [edit(index, "1.png", "other")])
    assert redo_last(index) is None


def test_an_empty_journal_has_nothing_to_undo(index: DatasetIndex) -> None:
    assert undo_last(index) is None
    assert redo_last(index) is None
    assert last_change(index) is None


def test_a_caption_changed_by_another_program_is_not_overwritten_and_both_are_kept(
    index: DatasetIndex, folder: Path
) -> None:
    stale = edit(index, "0.png", "mine")
    (folder / "0.txt").write_text("theirs", "utf-8")
    applied = apply_edits(index, [stale])
    assert (applied.changed, applied.left_alone) == ((), ("0.png",))
    assert captions(index)["0.png"] == "theirs"
    (conflict,) = conflicts(index)
    assert (conflict.mine, conflict.theirs) == ("mine", "theirs")
    settle(index, conflict, use_mine=True)
    assert captions(index)["0.png"] == "mine"
    assert conflicts(index) == ()
    undo_last(index)
    assert captions(index)["0.png"] == "theirs"


def test_a_conflict_can_be_settled_for_the_file(index: DatasetIndex, folder: Path) -> None:
    stale = edit(index, "0.png", "mine")
    (folder / "0.txt").unlink()
    apply_edits(index, [stale])
    settle(index, conflicts(index)[0], use_mine=False)
    assert (conflicts(index), captions(index)["0.png"]) == ((), "")


def test_undo_leaves_a_caption_alone_that_was_changed_since(index: DatasetIndex, folder: Path) -> None:
    apply_edits(index, [edit(index, "0.png", "mine"), edit(index, "1.png", "also mine")])
    (folder / "0.txt").write_text("changed outside", "utf-8")
    undone = undo_last(index)
    assert undone is not None
    assert (undone.changed, undone.left_alone) == (("1.png",), ("0.png",))
    assert (folder / "0.txt").read_text("utf-8") == "changed outside"
    assert undo_last(index) is None


def test_an_edit_of_a_picture_that_is_gone_writes_nothing(index: DatasetIndex, folder: Path) -> None:
    wanted = CaptionEdit(name="../escape.png", caption="x", seen="")
    assert apply_edits(index, [wanted]).left_alone == ("../escape.png",)
    assert not (folder.parent / "escape.txt").exists()


def test_a_full_disk_keeps_the_old_caption_and_no_false_undo(
    index: DatasetIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [edit(index, "0.png", "new"), edit(index, "1.png", "new")]

    def full(path: Path, content: bytes) -> None:
        raise DiskFullError(f"The file {path.name} was not saved.")

    monkeypatch.setattr("lora_core.datasets.journal.write_atomic", full)
    before = contents(folder)
    with pytest.raises(DiskFullError):
        apply_edits(index, wanted)
    assert contents(folder) == before
    assert undo_last(index) is None


def test_a_crash_between_journal_and_file_is_undone_without_harm(
    index: DatasetIndex, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = edit(index, "0.png", "never written")
    with monkeypatch.context() as patch:
        patch.setattr("lora_core.datasets.journal._write", lambda *_: ())
        apply_edits(index, [wanted])
    before = contents(folder)
    undone = undo_last(index)
    assert undone is not None
    assert undone.left_alone == ()
    assert contents(folder) == before


# --- the file itself --------------------------------------------------------------------------


def test_a_deleted_index_is_rebuilt_from_the_files(folder: Path) -> None:
    with open_index(folder) as index:
        index.refresh()
        rows = index.rows(1)
    index_file(folder).unlink()
    with open_index(folder) as index:
        index.refresh()
        assert index.rows(1) == rows


def test_a_damaged_index_is_set_aside_and_the_journal_comes_from_its_copy(folder: Path) -> None:
    with open_index(folder) as index:
        index.refresh()
        apply_edits(index, [edit(index, "0.png", "new")])
    with open_index(folder):  # the first opening after an edit makes the day's copy
        pass
    index_file(folder).write_bytes(b"not a database" * 1000)
    with open_index(folder) as index:
        index.refresh()
        assert captions(index)["0.png"] == "new"
        assert undo_last(index) is not None
    assert (folder / "0.txt").read_text("utf-8") == "red cat"
    assert list((folder / ".lora").glob("index.damaged-*"))


def test_an_index_of_a_newer_version_is_left_alone(folder: Path) -> None:
    with open_index(folder):
        pass
    db = sqlite3.connect(index_file(folder))
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(FileTooNewError), open_index(folder):
        pass


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(DatasetError), open_index(tmp_path / "missing"):
        pass
    assert not (tmp_path / "missing").exists()


def test_an_index_from_somebody_else_does_not_lead_out_of_the_folder(
    index: DatasetIndex, folder: Path
) -> None:
    outside = folder.parent / "outside.png"
    Image.new("RGB", (5, 5)).save(outside)
    index.db.execute("UPDATE files SET name = '../outside.png', digest = 'aa' WHERE name = '0.png'")
    assert index.path_of("aa") is None
    outside.unlink()
