"""Names on the Hugging Face hub: told from paths, found in the cache, and never fetched unasked."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from small_bases import sd1_folder

from lora_core.errors import ModelError
from lora_core.models import tokenizer_folder, vae_place
from lora_core.models.hub import cached_file, is_name, main, model_folder, stored_twice


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, the hub switched off, and a working folder without models."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "hub"


def repository(cache: Path, name: str) -> Path:
    """The folder of a repository's newest files in the cache."""
    place = cache / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0123", "utf-8")
    return place / "snapshots" / "0123"


def test_a_name_is_told_from_a_path() -> None:
    assert is_name(Path("owner/model"))
    Path("owner").mkdir()
    Path("owner/model").touch()
    assert not is_name(Path("owner/model"))
    for path in ("/owner/model", "C:\\owner", "model", "a/b/c"):
        assert not is_name(Path(path))


def test_a_cached_model_is_found_and_another_is_refused_with_what_to_do(cache: Path) -> None:
    folder = sd1_folder(repository(cache, "owner/model"))
    assert model_folder(Path("owner/model")) == folder
    with pytest.raises(ModelError) as caught:
        model_folder(Path("owner/other"))
    assert "owner/other is not on this machine" in caught.value.what
    assert caught.value.fix.endswith("python -m lora_core.models.hub owner/other")


def test_words_that_cannot_be_a_name_are_in_no_cache() -> None:
    assert cached_file("two words/--", "config.json") is None


def test_a_vae_is_found_in_the_cache_alone_or_in_its_model(cache: Path) -> None:
    folder = sd1_folder(repository(cache, "owner/model"))
    assert vae_place(Path("owner/model")) == folder / "vae"
    alone = repository(cache, "owner/vae")
    shutil.copytree(folder / "vae", alone)
    assert vae_place(Path("owner/vae")) == alone
    with pytest.raises(ModelError, match="nothing is downloaded unasked"):
        vae_place(Path("owner/none"))


def test_the_tokenizer_of_a_cached_model_serves_a_single_file(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="None was found on this machine"):
        tokenizer_folder(tmp_path / "models" / "one.safetensors", None)
    folder = sd1_folder(repository(cache, "stabilityai/stable-diffusion-xl-base-1.0"))
    assert tokenizer_folder(tmp_path / "models" / "one.safetensors", None) == folder / "tokenizer"


def test_weights_in_half_precision_are_fetched_where_there_are_no_others() -> None:
    files = [
        "unet/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "model_index.json",
    ]
    assert stored_twice(files) == ["unet/diffusion_pytorch_model.fp16.safetensors"]


def test_a_download_that_cannot_be_had_ends_with_one_clear_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["owner/model"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("owner/model was not downloaded. The hub answered: ")
    assert "Check the name and the connection." in said
    assert main([]) == 2
