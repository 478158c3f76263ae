"""What the bundled base consists of: its vocabulary, its files, and the command that makes it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lora_core.demo import BASE_DIR, TRIGGER
from lora_core.demo.shapes import known_words
from lora_core.demo.tokenizer import write_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> object:
    from transformers import CLIPTokenizer

    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def test_every_known_word_is_one_token(tokenizer) -> None:  # type: ignore[no-untyped-def] # transformers is untyped
    pieces = {word: tokenizer.tokenize(word) for word in known_words()}
    assert all(found == [f"{word}</w>"] for word, found in pieces.items()), pieces


@pytest.mark.parametrize("text", [TRIGGER, "Grüße, 日本語!", "naïve 🙂 café", "x" * 60, "a\tb\nc #1%"])
def test_any_text_can_be_written_in_tokens(tokenizer, text: str) -> None:  # type: ignore[no-untyped-def] # transformers is untyped
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id not in ids[1:-1]
    assert "".join(tokenizer.decode(ids[1:-1]).split()) == "".join(text.lower().split())


def test_the_trigger_word_is_made_of_several_tokens(tokenizer) -> None:  # type: ignore[no-untyped-def] # transformers is untyped
    assert len(tokenizer.tokenize(TRIGGER)) > 1


def test_the_bundled_base_takes_at_most_12_megabytes() -> None:
    sizes = {
        str(path.relative_to(BASE_DIR)): path.stat().st_size for path in BASE_DIR.rglob("*") if path.is_file()
    }
    assert "model_index.json" in sizes
    assert sum(sizes.values()) <= 12_000_000, sizes


def test_the_bundled_tokenizer_is_the_one_that_the_code_writes(tmp_path: Path) -> None:
    write_tokenizer(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    bundled = {path.name: path.read_bytes() for path in (BASE_DIR / "tokenizer").iterdir()}
    assert bundled == written


def test_importing_the_demo_does_not_import_torch() -> None:
    code = (
        "import sys, lora_core.demo, lora_core.demo.judge, lora_core.demo.measure\n"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_two_steps_of_base_training_leave_a_loadable_folder(tmp_path: Path) -> None:
    from lora_core.demo.parts import load_base
    from lora_core.demo.train_base import Plan, Stage, train_base

    stage = Stage(steps=2, batch=2, rate=1e-3, horizon=2)
    plan = Plan(
        free_pictures=4,
        pictures=4,
        vae_steps=2,
        decoder_steps=2,
        vae_batch=2,
        first=stage,
        second=stage,
        threads=1,
    )
    train_base(tmp_path, plan)
    pipeline = load_base(tmp_path)
    index = json.loads((tmp_path / "model_index.json").read_text("utf-8"))
    assert index["safety_checker"] == [None, None]
    assert pipeline.vae.config.scaling_factor != 1.0
    picture = pipeline("a red circle", num_inference_steps=1, width=64, height=64).images[0]
    assert picture.size == (64, 64)
