"""Listing the images of a folder: what is taken, and what is named and left out."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from lora_core.datasets.images import FileProblem, Folder, read_header, scan
from lora_core.errors import CaptionError, DatasetError

Draw = Callable[..., Path]


@pytest.fixture
def draw(tmp_path: Path) -> Draw:
    def save(name: str, size: tuple[int, int] = (40, 30), **options: object) -> Path:
        path = tmp_path / name
        Image.effect_noise(size, 60).convert("RGB").save(path, **options)
        return path

    return save


def kinds(folder: Folder) -> dict[str, str]:
    return {problem.file: problem.kind for problem in folder.problems if problem.kind != "uncaptioned"}


def only(folder: Folder, kind: str) -> FileProblem:
    (problem,) = [problem for problem in folder.problems if problem.kind == kind]
    return problem


def huge_png(path: Path, width: int = 20_000, height: int = 20_000) -> None:
    """A PNG of a few hundred bytes that claims to be enormous."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 10_000)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG"])
def test_every_format_of_the_engine_is_listed_with_its_size(draw: Draw, tmp_path: Path, suffix: str) -> None:
    draw("a" + suffix, (41, 30))
    (image,) = scan(tmp_path).images
    assert (image.name, image.width, image.height) == ("a" + suffix, 41, 30)


def test_images_come_in_the_order_of_their_names_with_their_captions(draw: Draw, tmp_path: Path) -> None:
    for name in ("b.png", "a.png", "c.png"):
        draw(name)
    (tmp_path / "b.txt").write_text("cat", "utf-8")
    folder = scan(tmp_path)
    assert [(image.name, image.caption) for image in folder.images] == [
        ("a.png", None),
        ("b.png", "cat"),
        ("c.png", None),
    ]
    assert [problem.file for problem in folder.problems if problem.kind == "uncaptioned"] == [
        "a.png",
        "c.png",
    ]


def test_a_folder_without_images_cannot_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x", "utf-8")
    folder = scan(tmp_path)
    assert (folder.images, folder.problems) == ((), ())
    with pytest.raises(DatasetError, match="no pictures to train on"):
        folder.require_trainable()


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="missing was not read"):
        scan(tmp_path / "missing")


@pytest.mark.skipif(os.name == "nt", reason="names are bytes on POSIX alone")
def test_a_name_of_bytes_that_are_no_text_is_left_out_and_told_in_text(draw: Draw, tmp_path: Path) -> None:
    draw("good.png")
    draw(os.fsdecode(b"caf\xe9.png"))
    folder = scan(tmp_path)
    assert [image.name for image in folder.images] == ["good.png"]
    assert kinds(folder) == {"caf?.png": "format"}


@pytest.mark.parametrize("name", ["a\0b", "n" * 5000])
def test_a_name_that_no_folder_can_have_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DatasetError, match="was not read"):
        scan(tmp_path / name)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_a_file_that_is_no_picture_is_named_and_skipped_among_good_ones(
    draw: Draw, tmp_path: Path, content: bytes
) -> None:
    draw("good.png")
    (tmp_path / "bad.png").write_bytes(content)
    folder = scan(tmp_path)
    assert [image.name for image in folder.images] == ["good.png"]
    assert kinds(folder) == {"bad.png": "broken"}
    assert only(folder, "broken").effect == "skipped"
    folder.require_trainable()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
def test_a_cut_off_picture_is_found_when_every_pixel_is_decoded(
    draw: Draw, tmp_path: Path, suffix: str
) -> None:
    path = draw("cut" + suffix, (300, 300))
    path.write_bytes(path.read_bytes()[:-2000])
    assert kinds(scan(tmp_path, verify=True)) == {"cut" + suffix: "broken"}


def test_another_format_under_a_false_name_is_not_decoded(draw: Draw, tmp_path: Path) -> None:
    draw("real.gif").rename(tmp_path / "fake.png")
    assert only(scan(tmp_path), "broken").what == "Its content is not a png, jpg, webp or bmp picture."


@pytest.mark.parametrize("side", [10_000, 20_000])
def test_a_picture_that_unpacks_to_gigabytes_is_named_and_not_decoded(tmp_path: Path, side: int) -> None:
    huge_png(tmp_path / "bomb.png", side, side)
    assert kinds(scan(tmp_path, verify=True)) == {"bomb.png": "too_large"}


def test_a_picture_of_an_unread_format_is_named(draw: Draw, tmp_path: Path) -> None:
    draw("a.gif")
    assert kinds(scan(tmp_path)) == {"a.gif": "format"}


def test_an_ending_in_mixed_case_is_named_because_trainers_do_not_list_it(draw: Draw, tmp_path: Path) -> None:
    draw("a.png").rename(tmp_path / "a.Png")
    folder = scan(tmp_path)
    assert folder.images == ()
    assert "end in .png" in only(folder, "format").fix


def test_hidden_files_and_sub_folders_are_ignored(draw: Draw, tmp_path: Path) -> None:
    draw("._a.png")
    (tmp_path / "sub.png").mkdir()
    (tmp_path / ".lora").mkdir()
    folder = scan(tmp_path)
    assert (folder.images, folder.problems) == ((), ())


def test_a_link_out_of_the_folder_is_not_followed(draw: Draw, tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    outside = draw("outside.png")
    (tmp_path / "secret.txt").write_text("secret", "utf-8")
    try:
        (inside / "link.png").symlink_to(outside)
    except OSError:
        pytest.skip("this system or account cannot make links")
    draw("inside/own.png")
    (inside / "own.txt").symlink_to(tmp_path / "secret.txt")
    folder = scan(inside)
    assert [(image.name, image.caption) for image in folder.images] == [("own.png", None)]
    assert kinds(folder) == {"link.png": "link", "own.txt": "link"}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    try:
        (tmp_path / "lost.png").symlink_to(tmp_path / "gone.png")
    except OSError:
        pytest.skip("this system or account cannot make links")
    assert kinds(scan(tmp_path)) == {"lost.png": "broken"}


def test_a_turned_photograph_keeps_its_stored_size_and_is_reported(draw: Draw, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("turned.jpg", (40, 30), exif=exif)
    draw("also.png", (40, 30), exif=exif)
    folder = scan(tmp_path)
    assert {(image.width, image.height) for image in folder.images} == {(40, 30)}
    assert kinds(folder) == {"also.png": "turned", "turned.jpg": "turned"}


def test_pictures_that_share_a_caption_by_name_are_reported(draw: Draw, tmp_path: Path) -> None:
    draw("a.png")
    draw("a.jpg")
    folder = scan(tmp_path)
    assert len(folder.images) == 2
    assert kinds(folder) == {"a.jpg": "same_stem", "a.png": "same_stem"}


@pytest.mark.parametrize("content", [b"", b" \n", "é".encode("latin-1")])
def test_a_caption_that_the_engine_cannot_read_stops_a_run_and_is_named(
    draw: Draw, tmp_path: Path, content: bytes
) -> None:
    draw("a.png")
    (tmp_path / "a.txt").write_bytes(content)
    folder = scan(tmp_path)
    assert kinds(folder) == {"a.txt": "caption"}
    with pytest.raises(CaptionError, match=r"a\.txt"):
        folder.require_trainable()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="an administrator may read every file"
)
def test_a_picture_that_may_not_be_read_is_named(draw: Draw, tmp_path: Path) -> None:
    draw("a.png").chmod(0)
    assert kinds(scan(tmp_path)) == {"a.png": "broken"}


def test_the_size_of_a_png_is_read_without_decoding_it(tmp_path: Path) -> None:
    huge_png(tmp_path / "a.png", 9_000, 9_000)  # below the limit, and most of its pixels are missing
    assert read_header(tmp_path / "a.png").width == 9_000
