"""All LoRA presets that come with kohya_ss: no key of them is left without a word."""

import json
import os
from pathlib import Path

import pytest

from lora_core.settings.imports import read_recipe

CHECKOUT = os.environ.get("LORA_KOHYA_SS", "")


@pytest.mark.skipif(not CHECKOUT, reason="set LORA_KOHYA_SS to a checkout of bmaltais/kohya_ss")
def test_every_key_of_every_preset_is_taken_translated_or_named() -> None:
    files = sorted((Path(CHECKOUT) / "presets" / "lora").glob("*.json"))
    counts = dict.fromkeys(("taken", "translated", "ignored"), 0)
    for file in files:
        found = read_recipe(file.name, file.read_bytes())
        named = {
            line.name.split(".")[0] for part in (*counts, "not_understood") for line in getattr(found, part)
        }
        assert set(json.loads(file.read_text("utf-8"))) - named == set(), file.name
        assert found.not_understood == (), file.name
        for part in counts:
            counts[part] += len(getattr(found, part))
    assert len(files) > 20
    print(f"\n{len(files)} presets of kohya_ss were imported: {counts}")  # noqa: T201  the count is asked for
