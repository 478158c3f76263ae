"""Kinds of base models: what a file's name, family and way to predict say, and no more than a guess."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from small_bases import sd1_folder, sdxl_folder

from lora_core.models import inspect_base, kind_of
from lora_core.models.base import FAMILY_NAMES, TRAINED
from lora_core.settings import BUILT_IN, SD_SCRIPTS, known
from lora_core.settings.presets import BASES, base_kind_of


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("sd_xl_base_1.0", "sdxl"),
        ("juggernautXL_v9", "sdxl"),
        ("Illustrious-XL-v0.1", "illustrious"),
        ("waiNSFWIllustrious_v140", "illustrious"),
        ("model-ilxl-3", "illustrious"),
        ("illustrationMix", "sdxl"),
        ("NoobAI-XL-v1.1", "noobai-eps"),
        ("noobaiIllustriousMerge", "noobai-eps"),
        ("NoobAI-XL-Vpred-v1.0", "noobai-vpred"),
        ("ponyDiffusionV6XL", "pony"),
        ("my_pdxl_mix", "pony"),
        ("symphony", "sdxl"),
        ("", "sdxl"),
    ],
)
def test_a_name_tells_the_kind(name: str, kind: str) -> None:
    found = base_kind_of(name, "sdxl")
    assert found is not None
    assert found.kind == kind
    assert ("guess" in found.sentence) == (kind != "sdxl")


def test_what_a_file_predicts_weighs_more_than_its_name() -> None:
    for name in ("NoobAI-XL-v1.1", "unknown"):
        found = base_kind_of(name, "sdxl", predicts_v=True)
        assert found is not None
        assert found.kind == "noobai-vpred"
        assert "guess" in found.sentence


def test_a_name_never_overrules_the_family() -> None:
    found = base_kind_of("ponyDiffusionV6", "sd15")
    assert found is not None
    assert found.kind == "sd15"
    assert base_kind_of("pony", "sd3") is None
    found = base_kind_of("pony", "flux1")
    assert found is not None
    assert found.kind == "flux1-dev"


def test_each_kind_is_of_a_family_that_is_trained() -> None:
    assert {base.family for base in BASES.values() if base.here} == TRAINED
    assert FAMILY_NAMES.keys() >= TRAINED
    for base in BASES.values():
        assert base.engine in {BUILT_IN, SD_SCRIPTS}
        assert base.family in known.SCRIPTS
        assert base.here or base.family not in TRAINED


def test_each_kind_is_what_its_own_recommended_models_are_taken_for() -> None:
    for base in BASES.values():
        for model in base.recommended:
            name = model.address.rpartition("/")[2]
            guess = base_kind_of(f"{model.label} {name}", base.family)
            assert guess is not None
            assert guess.kind == base.id


def test_each_recommended_model_names_its_address_size_and_licence() -> None:
    for base in BASES.values():
        assert base.recommended
        for model in (*base.recommended, *base.parts.values()):
            assert model.address.startswith(("https://huggingface.co/", "https://civitai.com/"))
            assert "/blob/" not in model.address
            assert model.size_gb > (1 if model in base.recommended else 0.1)
            assert model.licence


def test_the_kind_of_a_folder_is_told_from_its_name(tmp_path: Path) -> None:
    for folder, kind in (
        (sdxl_folder(tmp_path / "Illustrious-XL-v1"), "illustrious"),
        (sd1_folder(tmp_path / "any"), "sd15"),
    ):
        guess = kind_of(inspect_base(folder))
        assert guess is not None
        assert guess.kind == kind


def test_the_kind_of_a_file_is_told_from_the_title_in_it_too(tmp_path: Path) -> None:
    tensors = {
        "model.diffusion_model.input_blocks.0.0.weight": np.ones((4, 4, 3, 3), np.float32),
        "conditioner.embedders.0.transformer.w": np.ones(4, np.float32),
        "conditioner.embedders.1.model.w": np.ones(4, np.float32),
        "first_stage_model.w": np.ones(4, np.float32),
    }
    path = tmp_path / "model.safetensors"
    save_file(tensors, path, metadata={"modelspec.title": "Pony Diffusion V6"})
    base = inspect_base(path)
    guess = kind_of(base)
    assert guess is not None
    assert guess.kind == "pony"
    path.unlink()
    guess = kind_of(base)  # gone since it was listed
    assert guess is not None
    assert guess.kind == "sdxl"
