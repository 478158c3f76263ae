"""Bringing pictures in: what is taken, what is refused, and that nothing is ever left half done."""

import io
import os
import random
import stat
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import pytest
from PIL import Image

from lora_core.datasets import importing, sources
from lora_core.datasets.images import scan
from lora_core.datasets.importing import import_dataset, read_report, run_import
from lora_core.datasets.uploads import KEPT_S, new_upload, uploads
from lora_core.errors import DiskFullError, ImportRefusedError, LoraError
from lora_core.reporting import Ended, NullReporter, Progress, Request
from lora_core.workspace import Workspace


def picture(colour: int = 0, kind: str = "PNG", size: tuple[int, int] = (32, 24)) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 30 + colour).convert("RGB").save(file, kind)
    return file.getvalue()


GOOD = picture()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "workspace")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    return folder


MakeZip = Callable[..., Path]


@pytest.fixture
def make_zip(tmp_path: Path) -> MakeZip:
    def make(
        files: dict[str, bytes] | list[tuple[str | zipfile.ZipInfo, bytes]], name: str = "in.zip"
    ) -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for entry, content in files.items() if isinstance(files, dict) else files:
                archive.writestr(entry, content)
        return path

    return make


def left_behind(workspace: Workspace) -> list[str]:
    return sorted(path.relative_to(workspace.datasets).as_posix() for path in workspace.datasets.rglob("*"))


def files_of(workspace: Workspace, name: str) -> set[str]:
    return {path.name for path in (workspace.datasets / name).iterdir() if path.is_file()}


def refuse(workspace: Workspace, source: Path, match: str) -> None:
    """The import is refused with this reason, leaves nothing, and writes nothing outside."""
    around = {path for path in workspace.root.parent.rglob("*") if workspace.datasets not in path.parents}
    with pytest.raises(ImportRefusedError, match=match):
        import_dataset(workspace, source, "pets")
    assert left_behind(workspace) == []
    after = {path for path in workspace.root.parent.rglob("*") if workspace.datasets not in path.parents}
    assert after == around


# --- what is taken ----------------------------------------------------------------------------


def test_pictures_and_their_captions_are_copied_and_the_source_stays(
    workspace: Workspace, photos: Path
) -> None:
    (photos / "a.png").write_bytes(GOOD)
    (photos / "a.txt").write_text("a cat", "utf-8")
    (photos / "b.jpg").write_bytes(picture(1, "JPEG"))
    before = {path.name: path.read_bytes() for path in photos.iterdir()}
    report = import_dataset(workspace, photos, "My cats")
    assert (report.name, len(report.taken), report.captions, report.refused) == ("My cats", 2, 1, ())
    assert files_of(workspace, "My cats") == {"a.png", "a.txt", "b.jpg"}
    assert (workspace.datasets / "My cats" / "a.png").read_bytes() == GOOD
    assert {path.name: path.read_bytes() for path in photos.iterdir()} == before
    assert read_report(workspace.datasets / "My cats") == report


def test_a_zip_gives_the_same_dataset_as_its_folder(
    workspace: Workspace, photos: Path, make_zip: MakeZip
) -> None:
    files = {
        "a.png": GOOD,
        "a.txt": b"cat",
        "deep/er/b.webp": picture(2, "WEBP"),
        "deep/er/b.caption": b"dog",
    }
    for name, content in files.items():
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).write_bytes(content)
    import_dataset(workspace, photos, "from folder")
    import_dataset(workspace, make_zip(files), "from zip")
    folder, unzipped = (scan(workspace.datasets / name) for name in ("from folder", "from zip"))
    assert [(image.name, image.caption) for image in folder.images] == [("a.png", "cat"), ("b.webp", "dog")]
    assert [(image.name, image.caption) for image in unzipped.images] == [("a.png", "cat"), ("b.webp", "dog")]


def test_pictures_of_one_name_in_several_folders_keep_their_own_captions(
    workspace: Workspace, make_zip: MakeZip
) -> None:
    source = make_zip(
        {
            "x/a.png": GOOD,
            "x/a.txt": b"one",
            "y/A.PNG": GOOD,
            "y/A.txt": b"two",
            "z/a.jpg": picture(1, "JPEG"),
        }
    )
    report = import_dataset(workspace, source, "pets")
    captions = {image.name: image.caption for image in scan(workspace.datasets / "pets").images}
    assert captions == {"a.png": "one", "A-2.png": "two", "a-3.jpg": None}
    assert {one.origin for one in report.renamed} == {"y/A.PNG", "z/a.jpg"}


def test_a_mixed_case_ending_becomes_one_that_trainers_list(workspace: Workspace, photos: Path) -> None:
    (photos / "a.Png").write_bytes(GOOD)
    (photos / "A.TXT").write_text("cat", "utf-8")
    import_dataset(workspace, photos, "pets")
    assert files_of(workspace, "pets") == {"a.png", "a.txt"}


def test_a_name_that_is_taken_gets_a_number(workspace: Workspace, photos: Path) -> None:
    (photos / "a.png").write_bytes(GOOD)
    names = [import_dataset(workspace, photos, "pets").name for _ in range(3)]
    assert names == ["pets", "pets 2", "pets 3"]


def test_a_name_cannot_leave_the_workspace(workspace: Workspace, photos: Path) -> None:
    (photos / "a.png").write_bytes(GOOD)
    report = import_dataset(workspace, photos, "../../etc/pets")
    assert (workspace.datasets / report.name / "a.png").is_file()


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("con.png", "_con.png"),
        ("a:b?c.png", "a_b_c.png"),
        ("tab\tname.png", "tab_name.png"),
        (" .png.png", "png.png"),
        ("ü" * 120 + ".png", "ü" * 50 + ".png"),
    ],
)
def test_names_that_some_system_forbids_are_changed(
    workspace: Workspace, make_zip: MakeZip, origin: str, name: str
) -> None:
    report = import_dataset(workspace, make_zip({"in/" + origin: GOOD}), "pets")
    assert [one.name for one in report.taken] == [name]


def test_a_name_in_utf8_without_the_mark_is_read_right(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"Xtzchen.png": GOOD, "Xtzchen.txt": b"cat"})
    content = source.read_bytes().replace(b"Xtzchen", "Kä".encode() + b"chen")
    source.write_bytes(content)
    report = import_dataset(workspace, source, "pets")
    assert [one.name for one in report.taken] == ["Kächen.png"]


def test_a_name_in_an_old_encoding_is_taken_with_its_caption(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"Katze.png": GOOD, "Katze.txt": b"cat"})
    source.write_bytes(source.read_bytes().replace(b"Katze", "Kätze".encode("cp850")))
    report = import_dataset(workspace, source, "pets")
    assert (len(report.taken), report.captions) == (1, 1)


def test_captions_are_written_as_utf8_without_a_mark(workspace: Workspace, photos: Path) -> None:
    (photos / "a.png").write_bytes(GOOD)
    (photos / "a.txt").write_bytes(b"\xef\xbb\xbfcat\r\nsecond\r\n")
    import_dataset(workspace, photos, "pets")
    assert (workspace.datasets / "pets" / "a.txt").read_bytes() == b"cat\nsecond\n"


def test_what_systems_leave_beside_pictures_is_ignored(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"a.png": GOOD, "__MACOSX/._a.png": b"x", ".DS_Store": b"x", "sub/.hidden/b.png": GOOD})
    report = import_dataset(workspace, source, "pets")
    assert ([one.name for one in report.taken], report.refused) == (["a.png"], ())


def test_progress_tells_done_total_and_pace(workspace: Workspace, photos: Path) -> None:
    seen: list[Progress] = []

    class Watch(NullReporter):
        def progress(self, progress: Progress) -> None:
            seen.append(progress)

    for number in range(3):
        (photos / f"{number}.png").write_bytes(GOOD)
    import_dataset(workspace, photos, "pets", Watch())
    assert [(one.step, one.total) for one in seen] == [(1, 3), (2, 3), (3, 3)]
    assert seen[-1].steps_per_s is not None
    assert seen[-1].eta_s == 0


def test_a_job_imports_and_removes_the_upload(workspace: Workspace, make_zip: MakeZip) -> None:
    upload = new_upload(workspace)
    make_zip({"a.png": GOOD}).rename(upload)
    params = {"source": str(upload), "name": "pets"}
    assert run_import(workspace, params, NullReporter()) == workspace.datasets / "pets"
    assert list(uploads(workspace).iterdir()) == []


def test_a_job_leaves_a_source_of_the_users_alone(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"a.png": GOOD})
    run_import(workspace, {"source": str(source), "name": "pets"}, NullReporter())
    assert source.exists()


# --- single files that are refused ------------------------------------------------------------


def test_a_broken_picture_costs_only_itself(workspace: Workspace, photos: Path) -> None:
    (photos / "good.png").write_bytes(GOOD)
    (photos / "cut.png").write_bytes(GOOD[:-40])
    (photos / "text.jpg").write_bytes(b"hello")
    report = import_dataset(workspace, photos, "pets")
    assert [one.name for one in report.taken] == ["good.png"]
    assert {one.file: one.why for one in report.refused} == {
        "cut.png": "The file is damaged or cut off.",
        "text.jpg": "Its content is not a png, jpg, webp or bmp picture.",
    }
    assert files_of(workspace, "pets") == {"good.png"}


@pytest.mark.parametrize("content", [b"", b"  \n", "é".encode("latin-1"), b"x" * (2 << 20)])
def test_a_caption_that_cannot_be_used_is_left_out_and_its_picture_is_taken(
    workspace: Workspace, photos: Path, content: bytes
) -> None:
    (photos / "a.png").write_bytes(GOOD)
    (photos / "a.txt").write_bytes(content)
    report = import_dataset(workspace, photos, "pets")
    assert [one.file for one in report.refused] == ["a.txt"]
    assert files_of(workspace, "pets") == {"a.png"}


def test_files_without_a_use_are_named_with_the_reason_or_counted(
    workspace: Workspace, make_zip: MakeZip
) -> None:
    source = make_zip({"a.png": GOOD, "lone.txt": b"x", "b.gif": b"x", "inner.zip": b"x", "model.bin": b"x"})
    report = import_dataset(workspace, source, "pets")
    assert {one.file for one in report.refused} == {"lone.txt", "b.gif", "inner.zip"}
    assert report.ignored == 1


def test_a_name_that_a_zip_has_twice_is_taken_once(workspace: Workspace, make_zip: MakeZip) -> None:
    with pytest.warns(UserWarning, match="Duplicate name"):
        source = make_zip([("a.png", GOOD), ("a.png", picture(1))])
    report = import_dataset(workspace, source, "pets")
    assert (len(report.taken), len(report.refused)) == (1, 1)
    assert (workspace.datasets / "pets" / "a.png").read_bytes() == GOOD


def test_a_damaged_entry_costs_only_itself(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"bad.png": picture(5), "good.png": GOOD})
    content = bytearray(source.read_bytes())
    content[60:90] = bytes(30)
    source.write_bytes(content)
    report = import_dataset(workspace, source, "pets")
    assert ([one.name for one in report.taken], [one.file for one in report.refused]) == (
        ["good.png"],
        ["bad.png"],
    )


def test_a_link_out_of_the_folder_is_not_followed(workspace: Workspace, photos: Path) -> None:
    secret = photos.parent / "secret.png"
    secret.write_bytes(GOOD)
    (photos / "a.png").write_bytes(GOOD)
    try:
        (photos / "link.png").symlink_to(secret)
        (photos / "everything").symlink_to(photos.parent, target_is_directory=True)
    except OSError:
        pytest.skip("this system or account cannot make links")
    report = import_dataset(workspace, photos, "pets")
    assert [one.file for one in report.refused] == ["link.png"]
    assert files_of(workspace, "pets") == {"a.png"}


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX alone")
def test_names_of_bytes_that_are_no_text_are_taken_under_a_name_that_is(
    workspace: Workspace, photos: Path
) -> None:
    odd = photos / os.fsdecode(b"\xe9t\xe9")
    odd.mkdir()
    (odd / os.fsdecode(b"caf\xe9.png")).write_bytes(GOOD)
    (odd / os.fsdecode(b"caf\xe9.txt")).write_text("a caf", "utf-8")
    report = import_dataset(workspace, odd, "pets")
    assert files_of(workspace, "pets") == {"caf.png", "caf.txt"}
    assert [(one.origin, one.captioned) for one in report.taken] == [("caf?.png", True)]
    assert read_report(workspace.datasets / "pets") == report
    assert report.source.isprintable()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_the_folder_does_not_block(workspace: Workspace, photos: Path) -> None:
    (photos / "a.png").write_bytes(GOOD)
    os.mkfifo(photos / "pipe.png")
    assert [one.file for one in import_dataset(workspace, photos, "pets").refused] == ["pipe.png"]


def test_the_workspace_inside_the_folder_is_not_imported_into_itself(workspace: Workspace) -> None:
    around = workspace.root.parent
    (around / "a.png").write_bytes(GOOD)
    import_dataset(workspace, around, "first")
    assert len(import_dataset(workspace, around, "second").taken) == 1


# --- whole sources that are refused -----------------------------------------------------------


def test_a_folder_without_pictures_is_refused(workspace: Workspace, photos: Path) -> None:
    (photos / "notes.md").write_text("x", "utf-8")
    refuse(workspace, photos, "No picture in it can be used")


@pytest.mark.parametrize("name", ["gone", "gone/" + "n" * 300, "gone\0"])
def test_a_source_that_is_not_there_is_named(workspace: Workspace, tmp_path: Path, name: str) -> None:
    refuse(workspace, tmp_path / name, "no folder or zip at .*gone")


def test_a_source_with_a_name_longer_than_any_is_not_there(workspace: Workspace, tmp_path: Path) -> None:
    refuse(workspace, tmp_path / ("n" * 300), "no folder or zip at")


def test_a_file_that_is_no_zip_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "a.rar").write_bytes(b"Rar!\x1a\x07")
    refuse(workspace, tmp_path / "a.rar", "neither a folder nor a zip")


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png", "x/../../evil.png", "..\\evil.png", "x\\..\\..\\evil.png",
        "/etc/evil.png", "\\evil.png", "\\\\server\\share\\evil.png", "C:\\evil.png", "c:evil.png",
        "//x/evil.png",
    ],
)  # fmt: skip
def test_a_zip_that_leads_out_of_its_folder_is_refused_whole(
    workspace: Workspace, make_zip: MakeZip, name: str
) -> None:
    refuse(
        workspace, make_zip({"good.png": GOOD, name: GOOD}), "Nothing was unpacked.*(leads out|top of a disk)"
    )


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_a_zip_with_links_or_devices_is_refused_whole(
    workspace: Workspace, make_zip: MakeZip, kind: int
) -> None:
    entry = zipfile.ZipInfo("innocent.png")
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    refuse(workspace, make_zip([("good.png", GOOD), (entry, b"/etc/passwd")]), "a link or a device")


def test_a_locked_zip_is_refused_whole(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"a.png": GOOD})
    content = bytearray(source.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    content[6] |= 1
    source.write_bytes(content)
    refuse(workspace, source, "locked with a password")


def test_a_bomb_is_refused_by_what_it_claims(workspace: Workspace, make_zip: MakeZip) -> None:
    refuse(workspace, make_zip({"a.png": GOOD, "bomb.png": bytes(101 << 20)}), "more than 100 times its size")


def test_a_bomb_that_lies_about_its_size_is_refused_by_what_comes_out(
    workspace: Workspace, make_zip: MakeZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "RATIO_FREE_BYTES", 1 << 20)
    bmp = io.BytesIO()
    Image.new("RGB", (700, 700)).save(bmp, "BMP")  # shrinks a thousandfold
    source = make_zip({f"{number}.bmp": bmp.getvalue() for number in range(4)})
    monkeypatch.setattr(sources, "_zip", _claiming_little(sources._zip))
    refuse(workspace, source, "more than 100 times its size")


def _claiming_little(real: Callable[..., sources.Source]) -> Callable[..., sources.Source]:
    """A zip whose headers claim a byte for each file, as a trap would."""

    def zip_source(archive: zipfile.ZipFile, path: Path) -> sources.Source:
        sizes = [entry.file_size for entry in archive.infolist()]
        for entry in archive.infolist():
            entry.file_size = 1
        opened = real(archive, path)
        for entry, size in zip(archive.infolist(), sizes, strict=True):
            entry.file_size = size
        return opened

    return zip_source


def test_a_picture_beyond_the_largest_size_is_refused_by_itself(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_PICTURE_BYTES", len(GOOD) + 10)
    (photos / "a.png").write_bytes(GOOD)
    (photos / "big.png").write_bytes(GOOD + bytes(100))
    report = import_dataset(workspace, photos, "pets")
    assert ([one.name for one in report.taken], [one.file for one in report.refused]) == (
        ["a.png"],
        ["big.png"],
    )


def test_a_source_with_too_many_files_is_refused(
    workspace: Workspace, photos: Path, make_zip: MakeZip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    for number in range(3):
        (photos / f"{number}.png").write_bytes(GOOD)
    refuse(workspace, photos, "more than 2 files")
    refuse(workspace, make_zip({f"{number}.png": GOOD for number in range(3)}), "more than 2 files")


@pytest.mark.parametrize("kept", [0, 1, 30, -1, -30])
def test_a_zip_that_arrived_in_part_is_refused(workspace: Workspace, make_zip: MakeZip, kept: int) -> None:
    source = make_zip({"a.png": GOOD})
    source.write_bytes(source.read_bytes()[:kept])
    refuse(workspace, source, "damaged, or only part of it arrived")


def test_a_name_that_is_not_in_the_encoding_it_claims_is_refused(
    workspace: Workspace, make_zip: MakeZip
) -> None:
    source = make_zip({"käse.png": GOOD})
    source.write_bytes(source.read_bytes().replace("ä".encode(), b"\xff\xfe"))
    refuse(workspace, source, "encoding that the zip claims")


def test_damaged_zips_end_in_a_report_or_a_clear_refusal(workspace: Workspace, make_zip: MakeZip) -> None:
    source = make_zip({"a.png": GOOD, "b/a.txt": b"cat", "c.jpg": picture(1, "JPEG")})
    whole = source.read_bytes()
    rng = random.Random(20)  # noqa: S311  places to damage, not a secret
    for _ in range(80):
        content = bytearray(whole)
        for _ in range(rng.randint(1, 6)):
            content[rng.randrange(len(content))] = rng.randrange(256)
        source.write_bytes(content)
        with suppress(LoraError):  # anything else is a traceback in front of a user
            import_dataset(workspace, source, "pets")
    assert [name for name in left_behind(workspace) if "import-" in name] == []


# --- ends on the way --------------------------------------------------------------------------


def test_a_request_to_stop_leaves_nothing(workspace: Workspace, photos: Path) -> None:
    class StopAtTwo(NullReporter):
        asked = 0

        def request(self) -> Request | None:
            self.asked += 1
            return "stop" if self.asked == 2 else None

    for number in range(3):
        (photos / f"{number}.png").write_bytes(GOOD)
    with pytest.raises(Ended) as ended:
        import_dataset(workspace, photos, "pets", StopAtTwo())
    assert ended.value.step == 1
    assert left_behind(workspace) == []


def test_a_source_larger_than_the_disk_is_refused_before_anything_is_copied(
    workspace: Workspace, photos: Path
) -> None:
    with (photos / "huge.png").open("wb") as file:
        try:
            file.truncate(1 << 50)
        except OSError:
            file.truncate(1 << 43)
    with pytest.raises(DiskFullError, match="Nothing was copied"):
        import_dataset(workspace, photos, "pets")
    assert left_behind(workspace) == []


def test_a_disk_that_fills_up_on_the_way_is_left_as_it_was(
    small_disk: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The look ahead is switched off: another program may fill the disk after it.
    monkeypatch.setattr(importing._Import, "_check_room", lambda *_: None)
    workspace = Workspace.open(small_disk)
    for number in range(5):
        (photos / f"{number}.bmp").write_bytes(picture(number, "BMP", (500, 500)))
    with pytest.raises(DiskFullError, match="disk is full"):
        import_dataset(workspace, photos, "pets")
    assert left_behind(workspace) == []


def test_what_a_killed_import_left_is_removed_by_the_next_one(workspace: Workspace, photos: Path) -> None:
    for number in range(40):
        (photos / f"{number}.png").write_bytes(GOOD)
    program = (
        "import sys, os, signal; from pathlib import Path\n"
        "from lora_core.datasets.importing import import_dataset\n"
        "from lora_core.reporting import NullReporter\n"
        "from lora_core.workspace import Workspace\n"
        "class Kill(NullReporter):\n"
        "    def progress(self, progress):\n"
        "        if progress.step == 20: os.kill(os.getpid(), signal.SIGKILL)\n"
        "import_dataset(Workspace(Path(sys.argv[1])), Path(sys.argv[2]), 'pets', Kill())\n"
    )
    subprocess.run([sys.executable, "-c", program, str(workspace.root), str(photos)], check=False)
    assert any(name.startswith(".import-") for name in left_behind(workspace))
    assert not (workspace.datasets / "pets").exists()
    import_dataset(workspace, photos, "pets")
    assert [path.name for path in workspace.datasets.iterdir()] == ["pets"]


def test_an_import_on_its_way_is_not_cleared_by_another(workspace: Workspace, photos: Path) -> None:
    (photos / "a.png").write_bytes(GOOD)
    other = photos.parent / "other"
    other.mkdir()
    (other / "b.png").write_bytes(GOOD)

    class Second(NullReporter):
        def progress(self, progress: Progress) -> None:
            import_dataset(workspace, other, "second")

    import_dataset(workspace, photos, "first", Second())
    assert sorted(path.name for path in workspace.datasets.iterdir()) == ["first", "second"]


def test_what_another_computer_imports_is_left_alone_where_its_lock_is_not_seen(
    workspace: Workspace, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "a.png").write_bytes(GOOD)
    other = photos.parent / "other"
    other.mkdir()
    (other / "b.png").write_bytes(GOOD)
    monkeypatch.setenv("LORA_LOCKS", "local")

    def at(host: str) -> None:
        monkeypatch.setenv("LORA_HOST", host)
        monkeypatch.setenv("LORA_LOCAL_STATE", str(tmp_path / host))

    class Elsewhere(NullReporter):
        def progress(self, progress: Progress) -> None:
            at("cellar")
            import_dataset(workspace, other, "second")
            at("attic")
            import_dataset(workspace, other, "third")

    at("attic")
    import_dataset(workspace, photos, "first", Elsewhere())
    assert sorted(path.name for path in workspace.datasets.iterdir()) == ["first", "second", "third"]


def test_what_a_computer_left_that_never_came_back_goes_after_a_week_where_no_lock_tells(
    workspace: Workspace, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "a.png").write_bytes(GOOD)
    monkeypatch.setenv("LORA_LOCKS", "local")
    week_ago = time.time() - KEPT_S
    old, young = (workspace.datasets / f".import-gone-{uuid4().hex}" for _ in range(2))
    for left, age_s in ((old, -60), (young, 3600)):
        left.mkdir()
        os.utime(left, (week_ago + age_s, week_ago + age_s))
    wrong = SimpleNamespace(
        time=lambda: 0.0, monotonic=time.monotonic
    )  # this computer's own clock does not count
    monkeypatch.setattr(importing, "time", wrong)
    import_dataset(workspace, photos, "pets")
    assert (old.exists(), young.exists()) == (False, True)
