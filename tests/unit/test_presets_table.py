"""The default recipe of each goal on each base model, against the tables of the product reference.

The numbers below were copied from the reference by hand, not from the files, so that a slip in a file is
seen. Sections are those of the reference.
"""

from typing import Any, Final

import pytest

from lora_core.settings import SD_SCRIPTS
from lora_core.settings.presets import BASES, GOALS, all_ids, composed, composed_by_id, length_for, offered

OFF: Final = None
"""TE 0: the text part is not trained."""

# Section 5.2: learning rate of the image part, of the text part, rank, alpha.
RATES: Final = {
    # SD 1.5: two published recipes at strength 1e-4 (enigmata, EDG); TE from EDG and lah_cutedoodle
    "sd15.character": (2e-4, 5e-5, 16, 8),
    "sd15.style": (2e-4, 5e-5, 32, 16),
    "sd15.concept": (2e-4, 5e-5, 16, 8),
    "sd15.outfit": (1e-4, 2.5e-5, 16, 8),
    "sd15.person": (1e-4, 5e-5, 32, 16),
    # SDXL: sd-scripts' documentation; style from hollowstrawberry's notebook; outfit interpolated
    "sdxl.character": (1e-4, 1e-5, 16, 8),
    "sdxl.style": (3e-4, OFF, 32, 16),
    "sdxl.concept": (1e-4, 1e-5, 16, 8),
    "sdxl.outfit": (5e-5, OFF, 16, 8),
    "sdxl.person": (1e-4, 1e-5, 32, 16),
    # Illustrious and NoobAI eps: as SDXL, with illustrious_template
    "illustrious.character": (1e-4, 1e-5, 16, 8),
    "illustrious.style": (3e-4, OFF, 32, 16),
    "illustrious.concept": (1e-4, 1e-5, 16, 8),
    "illustrious.outfit": (5e-5, OFF, 16, 8),
    "noobai-eps.character": (1e-4, 1e-5, 16, 8),
    "noobai-eps.style": (3e-4, OFF, 32, 16),
    "noobai-eps.concept": (1e-4, 1e-5, 16, 8),
    "noobai-eps.outfit": (5e-5, OFF, 16, 8),
    # NoobAI v: eps times 0.86, the ratio of two published recipes (enigmata)
    "noobai-vpred.character": (8.5e-5, 8.5e-6, 16, 8),
    "noobai-vpred.style": (2.5e-4, OFF, 32, 16),
    "noobai-vpred.concept": (8.5e-5, 8.5e-6, 16, 8),
    "noobai-vpred.outfit": (4e-5, OFF, 16, 8),
    # Pony: enigmata_character_pony; style at the strength of citrons_pdxl
    "pony.character": (8e-5, 1e-5, 16, 8),
    "pony.style": (2e-4, OFF, 32, 16),
    "pony.concept": (8e-5, 1e-5, 16, 8),
    "pony.outfit": (4e-5, OFF, 16, 8),
    # Anima: sd-scripts' documentation, lora_anima (ECO), citrons_anima (style), a public gist (20/20)
    "anima.character": (1e-4, OFF, 20, 20),
    "anima.style": (1e-4, OFF, 24, 24),
    "anima.concept": (1e-4, OFF, 20, 20),
    "anima.outfit": (5e-5, OFF, 20, 20),
    # FLUX.1: sd-scripts' rate, flux_experimental (ECO) and flux1D (kohya_ss); one size for all goals
    "flux1-dev.character": (1e-4, OFF, 16, 16),
    "flux1-dev.style": (1e-4, OFF, 16, 16),
    "flux1-dev.concept": (1e-4, OFF, 16, 16),
    "flux1-dev.outfit": (5e-5, OFF, 16, 16),
    "flux1-dev.person": (1e-4, OFF, 16, 16),
}

# Section 5.4: what all share, and what a kind of base model has of its own.
COMMON: Final = {
    "optimizer_type": "AdamW",
    "weight_decay": 0.1,  # section 6: what to send beside AdamW, with 8 bits and without
    "betas": (0.9, 0.99),
    "enable_bucket": True,
    "min_bucket_reso": 256,
    "bucket_reso_steps": 64,
    "bucket_no_upscale": True,
    "max_token_length": 225,
    "mixed_precision": "bf16",
    "save_precision": "fp16",
    "gradient_checkpointing": True,
    "cache_latents": True,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 0.05,
    "min_snr_gamma": 5.0,
    "max_grad_norm": 1.0,
    "seed": 42,
    "save_every_n_epochs": 1,
    "save_state": True,
    "loss_type": "l2",
    "sample_every_n_epochs": 1,
    "max_train_epochs": 10,
}
OF_BASE: Final[dict[str, dict[str, Any]]] = {
    "sd15": {"resolution": (512, 512), "max_bucket_reso": 1024, "noise_offset": 0.05},
    "sdxl": {"resolution": (1024, 1024), "max_bucket_reso": 2048, "noise_offset": 0.0357},
    "illustrious": {"resolution": (1024, 1024), "max_bucket_reso": 2048},
    "noobai-eps": {"resolution": (1024, 1024), "max_bucket_reso": 2048},
    "noobai-vpred": {
        "resolution": (1024, 1024),
        "max_bucket_reso": 2048,
        "scale_v_pred_loss_like_noise_pred": True,
    },
    "pony": {"resolution": (1024, 1024), "max_bucket_reso": 2048, "noise_offset": 0.03},
    # Sections 5.4, 5.5 and 8.2: what a flow model must be sent, and what it would read over
    "anima": {
        "resolution": (1024, 1024),
        "max_bucket_reso": 2048,
        "network_module": "networks.lora_anima",
        "timestep_sampling": "sigmoid",
        "network_train_unet_only": True,
        "cache_text_encoder_outputs": True,
        "save_precision": "bf16",
        "min_snr_gamma": None,
        "max_token_length": None,
    },
    "flux1-dev": {
        "resolution": (1024, 1024),
        "max_bucket_reso": 2048,
        "network_module": "networks.lora_flux",
        "guidance_scale": 1.0,
        "timestep_sampling": "flux_shift",
        "model_prediction_type": "raw",
        "network_train_unet_only": True,
        "cache_text_encoder_outputs": True,
        "save_precision": "bf16",
        "min_snr_gamma": None,
        "max_token_length": None,
    },
}
PARTS: Final = {"anima": {"qwen3", "vae"}, "flux1-dev": {"clip_l", "t5xxl", "ae"}}
"""Section 3.2 and 5.5: the files that a base needs besides its own."""

# Section 11: images at a time, and blocks that are swapped, by gigabytes of the card.
MEMORY: Final[dict[str, dict[int, tuple[int, int | None]]]] = {
    "anima": {8: (1, None), 12: (1, None), 16: (2, None), 24: (2, None), 48: (4, None)},
    "flux1-dev": {8: (1, 28), 12: (1, 16), 16: (1, 8), 24: (2, None), 48: (2, None)},
}

# Section 5.6: exposures, and the usual number of images.
EXPOSURES: Final = {
    "character": (2000, (20, 40)),
    "person": (2500, (15, 30)),
    "concept": (2500, (20, None)),
    "outfit": (3000, (10, 20)),
    "style": (5000, (60, 150)),
}

# Section 11: what ships, each line of the table with a tick. The rest ("without our blessing") does not.
SHIPPED: Final = {
    "sd15": {"character", "person", "style", "concept", "outfit"},
    "sdxl": {"character", "person", "style", "concept", "outfit"},
    "illustrious": {"character", "style", "concept", "outfit"},
    "noobai-eps": {"character", "style", "concept", "outfit"},
    "noobai-vpred": {"character", "style", "concept", "outfit"},
    "pony": {"character", "style", "concept", "outfit"},
    "anima": {"character", "style", "concept", "outfit"},
    "flux1-dev": {"character", "person", "style", "concept", "outfit"},
}


def test_what_is_offered_is_what_the_reference_supports() -> None:
    assert {base: set(offered(base)) for base in BASES} == SHIPPED
    assert set(all_ids()) == set(RATES)
    assert len(RATES) == 35  # as section 11 counts them


@pytest.mark.parametrize("preset", RATES)
def test_rates_and_ranks_are_those_of_the_reference(preset: str) -> None:
    values = composed_by_id(preset).values
    trained = not values["network_train_unet_only"]
    text = values.get("text_encoder_lr")
    assert trained == (text is not None), "a rate for the text part, and the text part is not trained"
    found = (
        values["learning_rate"],
        text[0] if text else OFF,
        values["network_dim"],
        values["network_alpha"],
    )
    assert found == RATES[preset]
    assert values.get("unet_lr") is None, "a second rate of the image part would hide the learning rate"


@pytest.mark.parametrize("preset", RATES)
def test_what_all_recipes_share_is_that_of_the_reference(preset: str) -> None:
    found = composed_by_id(preset)
    wanted = {**COMMON, **OF_BASE[found.base]}
    assert {key: found.values.get(key) for key in wanted} == wanted
    assert ("noise_offset" in found.values) == ("noise_offset" in OF_BASE[found.base])


def test_a_kind_that_predicts_v_brings_what_its_base_model_needs() -> None:
    # Section 5.5
    wanted = {base: base == "noobai-vpred" for base in BASES}
    for key in ("v_parameterization", "zero_terminal_snr"):
        assert {base: composed(base, "style").target.get(key, False) for base in BASES} == wanted
    scaled = "scale_v_pred_loss_like_noise_pred"
    assert {base for base in BASES if composed(base, "style").values.get(scaled)} == {"noobai-vpred"}


def test_clip_skip_is_for_drawn_pictures_of_the_old_family_alone() -> None:
    # Section 5.4: SD 1.5 anime 2, photo 1; omitted for the SDXL class
    skipping = {preset for preset in all_ids() if "clip_skip" in composed_by_id(preset).values}
    assert skipping == {"sd15.character"}
    assert composed("sd15", "character").values["clip_skip"] == 2


def test_tags_are_shuffled_behind_the_trigger_word_and_sentences_are_not() -> None:
    # Sections 3.4 and 5.4
    for preset in all_ids():
        found = composed_by_id(preset)
        once = found.values.get("cache_text_encoder_outputs")  # read once, so they cannot be shuffled
        tags = found.base != "sdxl" and found.goal != "person" and not once
        assert (found.values["shuffle_caption"], found.values["keep_tokens"]) == (tags, 1 if tags else 0)


@pytest.mark.parametrize("base", MEMORY)
def test_large_models_get_the_batches_and_swaps_of_the_reference(base: str) -> None:
    for gigabytes, wanted in MEMORY[base].items():
        values = composed(base, "style", memory_gb=gigabytes).values
        assert (values["batch_size"], values.get("blocks_to_swap")) == wanted, gigabytes
    small = composed("flux1-dev", "style", memory_gb=8).values
    assert (small["optimizer_type"], small["lr_scheduler"], small["max_grad_norm"]) == (
        "Adafactor", "constant_with_warmup", 0.0,
    )  # fmt: skip
    assert not any(small[key] for key in ("relative_step", "scale_parameter", "warmup_init"))
    assert (small["weight_decay"], small["betas"]) == (None, None)
    assert composed("flux1-dev", "style", memory_gb=12).values["optimizer_type"] == "AdamW8bit"
    precise = {gb: composed("flux1-dev", "style", memory_gb=gb).values["fp8_base"] for gb in (8, 24, 48)}
    assert precise == {8: True, 24: True, 48: False}


def test_what_only_sd_scripts_trains_says_so_before_it_is_chosen() -> None:
    others = {base.id for base in BASES.values() if not base.here}
    assert others == {"anima", "flux1-dev"}
    for base in others:
        assert BASES[base].engine == SD_SCRIPTS
        assert set(BASES[base].parts) == PARTS[base]
        found = composed(base, "style")
        assert any(need.startswith("sd-scripts, because the built-in trainer has no") for need in found.needs)
        assert found.evidence == "reported"
    for base in set(BASES) - others:
        assert not any("sd-scripts" in need for need in composed(base, "style").needs)


@pytest.mark.parametrize("goal", EXPOSURES)
def test_a_goal_has_the_exposures_and_images_of_the_reference(goal: str) -> None:
    assert (GOALS[goal].exposures, GOALS[goal].images) == EXPOSURES[goal]


@pytest.mark.parametrize(
    ("goal", "images", "repeats"),
    [
        # repeats = max(1, round(target / (images × 10)))
        ("character", 20, 10),
        ("character", 40, 5),
        ("character", 30, 7),
        ("person", 25, 10),
        ("concept", 20, 13),  # 12.5, and halves go up
        ("outfit", 15, 20),
        ("style", 100, 5),
        ("style", 700, 1),
        ("character", 1, 200),
    ],
)
def test_repeats_reach_the_exposures_in_ten_epochs(goal: str, images: int, repeats: int) -> None:
    length = length_for(goal, images)
    assert (length.repeats, length.epochs) == (repeats, 10)


@pytest.mark.parametrize("goal", GOALS)
def test_no_number_of_images_makes_a_run_far_too_long_or_too_short(goal: str) -> None:
    target = GOALS[goal].exposures
    for images in [*range(1, 400), *range(400, 2000, 37)]:
        exposures = length_for(goal, images).exposures
        assert 0.6 * target <= exposures <= 2 * target, f"{images} images: {exposures}"
    assert length_for(goal, 100_000).epochs == 1
    assert length_for(goal, 0).repeats >= 1
