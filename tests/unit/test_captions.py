"""Caption files and tags."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_core.datasets import captions
from lora_core.errors import CaptionError


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return tmp_path / "red.cat.png"


def beside(image: Path, content: bytes, extension: str = ".txt") -> Path:
    path = image.with_name("red.cat" + extension)
    path.write_bytes(content)
    return path


def test_a_caption_is_the_first_line_stripped(image: Path) -> None:
    beside(image, b"  a red cat, sitting \r\nsecond line\n")
    assert captions.read_caption(image) == "a red cat, sitting"


def test_an_image_without_a_caption_file_has_none(image: Path) -> None:
    assert captions.read_caption(image) is None


def test_the_extension_decides_which_file_is_read(image: Path) -> None:
    beside(image, b"tags", ".caption")
    assert captions.read_caption(image) is None
    assert captions.read_caption(image, ".caption") == "tags"


def test_a_byte_order_mark_is_not_part_of_the_caption(image: Path) -> None:
    beside(image, b"\xef\xbb\xbfcat")
    assert captions.read_caption(image) == "cat"


@pytest.mark.parametrize("content", [b"", b"   ", b"\n\n", b"\xef\xbb\xbf", b"\nsecond line"])
def test_a_caption_without_text_in_its_first_line_is_refused_by_name(image: Path, content: bytes) -> None:
    beside(image, content)
    with pytest.raises(CaptionError, match=r"red\.cat\.txt is empty"):
        captions.read_caption(image)


@pytest.mark.parametrize(
    "content", ["Käse".encode("latin-1"), "cat".encode("utf-16"), "cat".encode("utf-16-le")]
)
def test_a_caption_that_is_not_utf8_is_refused_by_name(image: Path, content: bytes) -> None:
    beside(image, content)
    with pytest.raises(CaptionError, match=r"red\.cat\.txt was not read.*UTF-8"):
        captions.read_caption(image)


def test_a_huge_file_is_not_read_as_a_caption(image: Path) -> None:
    beside(image, b"a" * (captions.MAX_BYTES + 1))
    with pytest.raises(CaptionError, match="larger than 1 MB"):
        captions.read_caption(image)


def test_a_written_caption_reads_back_the_same(image: Path) -> None:
    captions.write_caption(image, " ein Käse, 猫 ")
    assert captions.read_caption(image) == "ein Käse, 猫"
    assert not image.with_name("red.cat.txt").read_bytes().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize("emptied", ["", "  \n", None])
def test_an_emptied_caption_leaves_no_file(image: Path, emptied: str | None) -> None:
    path = beside(image, b"cat")
    captions.write_caption(image, emptied)
    captions.write_caption(image, emptied)
    assert not path.exists()


def test_tags_are_split_at_the_separator_only() -> None:
    assert captions.split_tags(" a b ,, (c:1.1), a b ,[d]") == ("a b", "(c:1.1)", "[d]")
    assert captions.split_tags("a; b, c", separator=";") == ("a", "b, c")


def test_a_repeated_tag_keeps_its_first_place() -> None:
    assert captions.join_tags(["b", "a", "b", " ", "a"]) == "b, a"


def test_a_tag_with_the_separator_is_refused() -> None:
    with pytest.raises(CaptionError, match="“a,b”"):
        captions.join_tags(["ok", "a,b"])


plain_tags = st.lists(
    st.text(st.characters(blacklist_characters=",\n\r\0", blacklist_categories=["Cs"]))
    .map(str.strip)
    .filter(bool),
    unique=True,
)


@given(plain_tags)
def test_tags_survive_being_joined_and_split(tags: list[str]) -> None:
    assert captions.split_tags(captions.join_tags(tags)) == tuple(tags)


def test_an_ending_without_its_dot_is_the_same_ending(image: Path) -> None:
    beside(image, b"a cat", ".caption")
    assert captions.read_caption(image, "caption") == captions.read_caption(image, ".caption") == "a cat"


def test_all_lines_with_text_are_read_where_they_are_choices(image: Path) -> None:
    beside(image, b"\xef\xbb\xbf one \r\n\n  \ntwo {a|b}\n")
    assert captions.read_lines(image) == "one\ntwo {a|b}"


def test_a_file_of_blank_lines_is_refused_and_no_file_is_none(image: Path) -> None:
    assert captions.read_lines(image) is None
    beside(image, b"\n  \n")
    with pytest.raises(CaptionError, match="empty"):
        captions.read_lines(image)
