"""Recipes that only sd-scripts trains, as files: whole, sound, and without a word about this computer."""

import io
import zipfile
from pathlib import Path

import pytest

from lora_core import runs
from lora_core.errors import SettingsError
from lora_core.planning import check
from lora_core.planning.images import RunImages
from lora_core.settings import SD_SCRIPTS, known, loads_run, parse
from lora_core.settings.presets import BASES, composed, offered

ELSEWHERE = [(base.id, goal) for base in BASES.values() if not base.here for goal in offered(base.id)]


@pytest.mark.parametrize(("base", "goal"), ELSEWHERE)
def test_the_files_are_those_of_the_recipe_and_sd_scripts_takes_them(base: str, goal: str) -> None:
    made = runs.zip_elsewhere(base, goal, name="zog", trigger="zog", images=25)
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(texts) == {"README.txt", "config.toml", "dataset.toml", "sample_prompts.txt"}
    kind = BASES[base]
    config = parse(texts["config.toml"], "config.toml")
    taken = known.by_script()[known.SCRIPTS[kind.family]]
    assert config.keys() <= taken.keys()
    assert config["output_name"] == "zog"
    for key in ("pretrained_model_name_or_path", *kind.parts):
        assert config[key].startswith("models/")
    again = loads_run(texts["config.toml"], texts["dataset.toml"], Path("/elsewhere"))
    found = check(again, SD_SCRIPTS, images=RunImages(()), family=kind.family)
    assert [p for p in found if p.severity == "error" and p.setting != "sample_prompts"] == []
    recipe = composed(base, goal, images=25).values
    assert {key: runs.recipe_of(again)[key] for key in recipe} == dict(recipe)
    readme = texts["README.txt"]
    assert f"{known.SCRIPTS[kind.family]}.py" in readme
    for model in (kind.recommended[0], *kind.parts.values()):
        assert model.address in readme
    assert "Put them into the folders that dataset.toml names." in readme


def test_what_the_reference_does_not_support_is_no_file_either() -> None:
    with pytest.raises(SettingsError, match="There is no recipe"):
        runs.zip_elsewhere("anima", "person")
