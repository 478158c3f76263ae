"""The demo dataset: sixteen pictures of the concept and 120 ordinary ones, the same each time."""

import hashlib
from pathlib import Path

from PIL import Image

from lora_core.demo import TRIGGER, write_dataset
from lora_core.demo.judge import judge


def contents(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_two_writes_give_the_same_files(tmp_path: Path) -> None:
    write_dataset(tmp_path / "one")
    write_dataset(tmp_path / "two")
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_each_picture_shows_what_its_caption_says(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    pictures = sorted(tmp_path.rglob("*.png"))
    for path in pictures:
        with Image.open(path) as picture:
            seen = judge(picture)
        said = path.with_suffix(".txt").read_text("utf-8")
        assert said == f"a {seen.colour} {seen.shape} on a {seen.background} background\n"
    assert len(pictures) == 136


def test_the_trigger_word_stands_in_the_captions_of_the_concept_only(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    having = [path for path in tmp_path.rglob("*.txt") if TRIGGER in path.read_text("utf-8").split()]
    assert {path.parent.name for path in having} == {"concept"}
    assert len(having) == 16


def test_a_second_write_leaves_other_files_alone(tmp_path: Path) -> None:
    write_dataset(tmp_path)
    mine = tmp_path / "concept" / "notes.md"
    mine.write_text("mine", "utf-8")
    write_dataset(tmp_path)
    assert mine.read_text("utf-8") == "mine"
