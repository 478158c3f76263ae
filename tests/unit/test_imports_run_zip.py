"""The zip of a whole run as a recipe: what is read from it, and what a zip can be instead."""

import io
import zipfile
from collections.abc import Mapping

import pytest

from lora_core.errors import SettingsError
from lora_core.settings.imports import combined, read_recipe, read_run

CONFIG = b'pretrained_model_name_or_path = "models/base"\nnetwork_dim = 12\nseed = 987654321\n'
DATASET = b'[[datasets]]\nbatch_size = 3\n[[datasets.subsets]]\nimage_dir = "images/pets"\nnum_repeats = 7\n'


def made(files: Mapping[str, bytes]) -> io.BytesIO:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed


@pytest.mark.parametrize("folder", ["", "run/"], ids=["at the top", "in a folder"])
def test_both_files_are_read_as_one_recipe(folder: str) -> None:
    found = read_run("run.zip", made({f"{folder}config.toml": CONFIG, f"{folder}dataset.toml": DATASET}))
    beside = combined(read_recipe("config.toml", CONFIG), read_recipe("dataset.toml", DATASET))
    assert found.name == "run.zip"
    assert (found.values, found.target, found.folders) == (beside.values, beside.target, beside.folders)
    assert (found.values["network_dim"], found.values["batch_size"]) == (12, 3)


def test_settings_of_a_folder_further_down_are_not_those_of_the_run() -> None:
    files = {"old/config.toml": b"network_dim = 4\n", "old/dataset.toml": DATASET, "config.toml": CONFIG}
    found = read_run("run.zip", made(files))
    assert found.values["network_dim"] == 12
    assert found.folders == ()


WRONG = {
    "nothing": b"",
    "rubbish": b"PK\x03\x04" + bytes(range(256)) * 20,
    "cut off": made({"config.toml": CONFIG}).getvalue()[:-30],
    "damaged inside": made({"config.toml": CONFIG * 50})
    .getvalue()
    .replace(b"config.toml", b"config.tomm", 1),
    "pictures": made({"images/one.png": b"x"}).getvalue(),
    "a bomb": made({"config.toml": b"#" * 200_000_000}).getvalue(),
    "no settings": made({"config.toml": b"[tool.ruff]\nline-length = 110\n"}).getvalue(),
}


@pytest.mark.parametrize("case", WRONG)
def test_another_zip_is_refused_in_words(case: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_run("run.zip", io.BytesIO(WRONG[case]))
    assert caught.value.what
    assert caught.value.fix
    assert all(problem.what for problem in caught.value.problems)
