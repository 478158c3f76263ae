"""The LoRA file: that other programs load it, that it comes back, and what its header says."""

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from network_rig import Parts
from safetensors import safe_open
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained

from lora_core.engines.diffusers.lora_file import write_lora
from lora_core.engines.diffusers.merging import apply_lora
from lora_core.errors import DiskFullError
from lora_core.reporting import Ended


def pipeline(base: Path) -> Any:
    from diffusers import StableDiffusionPipeline

    pipe = StableDiffusionPipeline.from_pretrained(base, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def noise_prediction(unet: Any) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 4, 12, 12, generator=generator)
    words = torch.randn(1, 77, 32, generator=generator)
    with torch.no_grad():
        return unet(latents, torch.tensor([500]), words).sample


def metadata_of(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        return dict(file.metadata())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, base_model: Path) -> Path:
    """A run with convolutions, saved in full precision."""
    from lora_core.engines import get

    rig = Rig(tmp_path_factory.mktemp("trained"), base_model)
    folder = rig.folder(
        network_args=["conv_dim=3", "conv_alpha=1.5"],
        save_precision="float",
        max_train_steps=3,
        learning_rate=0.05,
        metadata_title="A title",
        metadata_author="Someone",
        metadata_trigger_phrase="sks",
        training_comment="a note",
        dataset={"validation_split": 0.2},
    )
    return get("diffusers").train(folder, Ears())


def test_diffusers_loads_the_file_with_every_layer_and_the_same_effect(
    trained: Path, base_model: Path
) -> None:
    pipe = pipeline(base_model)
    plain = noise_prediction(pipe.unet)
    pipe.load_lora_weights(trained)
    theirs = noise_prediction(pipe.unet)

    ours = pipeline(base_model)
    apply_lora(Parts("sd1", ours.unet, (ours.text_encoder,)), trained)
    torch.testing.assert_close(noise_prediction(ours.unet), theirs, rtol=1e-4, atol=1e-5)
    assert float((theirs - plain).abs().max()) > 1e-3


def test_the_file_changes_the_pictures_that_diffusers_draws(trained: Path, base_model: Path) -> None:
    def draw(pipe: Any) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        return torch.from_numpy(
            pipe(
                "a cat", width=64, height=64, num_inference_steps=3, generator=generator, output_type="np"
            ).images[0]
        )

    pipe = pipeline(base_model)
    before = draw(pipe)
    assert torch.equal(before, draw(pipe))
    pipe.load_lora_weights(trained)
    assert float((draw(pipe) - before).abs().max()) > 0.01


def test_a_layer_is_three_tensors_and_convolutions_have_four_dimensions(trained: Path) -> None:
    tensors = load_file(trained)
    modules = {key.split(".")[0] for key in tensors}
    assert len(tensors) == 3 * len(modules)
    attention = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
    assert tensors[f"{attention}.lora_down.weight"].shape == (4, 32)
    assert tensors[f"{attention}.lora_up.weight"].shape == (32, 4)
    assert tensors[f"{attention}.alpha"] == 2.0
    convolution = "lora_unet_down_blocks_0_resnets_0_conv1"
    assert tensors[f"{convolution}.lora_down.weight"].shape == (3, 32, 3, 3)
    assert tensors[f"{convolution}.lora_up.weight"].shape == (32, 3, 1, 1)
    assert tensors[f"{convolution}.alpha"] == 1.5
    assert tensors["lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight"].shape == (4, 32, 1, 1)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float", torch.float32), ("fp16", torch.float16), ("bf16", torch.bfloat16)]
)
def test_every_tensor_has_the_precision_that_was_asked_for(
    rig: Rig, train: Trained, precision: str, dtype: torch.dtype
) -> None:
    path = train(rig.folder(max_train_steps=1, save_precision=precision))
    assert {tensor.dtype for tensor in load_file(path).values()} == {dtype}


# What sd-scripts at 48d368f puts into the header of an SD 1.x LoRA trained with a dataset file.
SD_SCRIPTS_KEYS = """
ss_session_id ss_training_started_at ss_training_finished_at ss_output_name ss_training_comment
ss_sd_scripts_commit_hash ss_seed ss_epoch ss_steps ss_num_epochs ss_max_train_steps
ss_num_batches_per_epoch ss_num_train_images ss_num_reg_images ss_num_validation_images
ss_gradient_checkpointing ss_gradient_accumulation_steps ss_lowram ss_learning_rate ss_unet_lr
ss_text_encoder_lr ss_lr_scheduler ss_lr_warmup_steps ss_optimizer ss_max_grad_norm
ss_network_module ss_network_dim ss_network_alpha ss_network_dropout ss_network_args
ss_scale_weight_norms ss_mixed_precision ss_full_fp16 ss_fp8_base ss_fp8_base_unet ss_cache_latents
ss_v2 ss_base_model_version ss_clip_skip ss_max_token_length ss_sd_model_name ss_sd_model_hash
ss_new_sd_model_hash ss_noise_offset ss_noise_offset_random_strength ss_multires_noise_iterations
ss_multires_noise_discount ss_adaptive_noise_scale ss_zero_terminal_snr ss_ip_noise_gamma
ss_ip_noise_gamma_random_strength ss_min_snr_gamma ss_debiased_estimation ss_prior_loss_weight
ss_loss_type ss_huber_schedule ss_huber_scale ss_huber_c ss_caption_dropout_rate
ss_caption_dropout_every_n_epochs ss_caption_tag_dropout_rate ss_face_crop_aug_range
ss_resize_interpolation ss_datasets ss_dataset_dirs ss_tag_frequency ss_validation_seed
ss_validation_split ss_max_validation_steps ss_validate_every_n_epochs ss_validate_every_n_steps
sshs_model_hash sshs_legacy_hash modelspec.sai_model_spec modelspec.architecture
modelspec.implementation modelspec.implementation_version modelspec.title modelspec.date
modelspec.resolution modelspec.prediction_type modelspec.author modelspec.trigger_phrase
"""


def test_the_header_has_every_note_that_sd_scripts_writes_and_no_other(trained: Path) -> None:
    assert set(metadata_of(trained)) == set(SD_SCRIPTS_KEYS.split())


def test_the_notes_are_true_and_in_the_forms_of_sd_scripts(trained: Path) -> None:
    notes = metadata_of(trained)
    expected = {
        "ss_output_name": "tiny",
        "ss_network_module": "networks.lora",
        "ss_network_dim": "4",
        "ss_network_alpha": "2.0",
        "ss_seed": "7",
        "ss_steps": "3",
        "ss_epoch": "1",
        "ss_num_epochs": "1",
        "ss_num_batches_per_epoch": "4",
        "ss_num_train_images": "8",
        "ss_num_validation_images": "1",
        "ss_learning_rate": "0.05",
        "ss_unet_lr": "None",
        "ss_optimizer": "torch.optim.adamw.AdamW",
        "ss_base_model_version": "sd_v1",
        "ss_sd_model_name": "tiny",
        "ss_training_comment": "a note",
        "ss_cache_latents": "True",
        "modelspec.architecture": "stable-diffusion-v1/lora",
        "modelspec.title": "A title",
        "modelspec.author": "Someone",
        "modelspec.trigger_phrase": "sks",
        "modelspec.resolution": "48x48",
        "modelspec.prediction_type": "epsilon",
    }
    assert {key: notes[key] for key in expected} == expected
    assert json.loads(notes["ss_network_args"]) == {"conv_dim": "3", "conv_alpha": "1.5"}
    assert json.loads(notes["ss_dataset_dirs"]) == {"pictures": {"n_repeats": 2, "img_count": 4}}
    assert json.loads(notes["ss_tag_frequency"])["pictures"]["a photo of sks cat"] == 4
    (dataset,) = json.loads(notes["ss_datasets"])
    assert (dataset["batch_size_per_device"], dataset["num_train_images"]) == (2, 8)
    assert dataset["resolution"] == [48, 48]
    assert sum(bucket["count"] for bucket in dataset["bucket_info"]["buckets"].values()) == 8
    assert dataset["subsets"][0]["image_dir"] == "pictures"


def test_the_model_hash_is_that_of_the_tensors_alone(trained: Path) -> None:
    content = trained.read_bytes()
    body = 8 + int.from_bytes(content[:8], "little")
    assert metadata_of(trained)["sshs_model_hash"] == hashlib.sha256(content[body:]).hexdigest()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk needs the rights of root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_leaves_the_old_file_whole_and_nothing_half_written(small_disk: Path) -> None:
    path = small_disk / "lora.safetensors"
    write_lora(path, {"a": torch.ones(1000)}, {})
    before = path.read_bytes()
    with pytest.raises(DiskFullError):
        write_lora(path, {"a": torch.ones(100_000)}, {})
    assert path.read_bytes() == before
    assert [entry.name for entry in small_disk.iterdir()] == ["lora.safetensors"]


def test_a_run_on_a_disk_that_fills_up_keeps_what_it_saved_before(
    rig: Rig, train: Trained, small_disk: Path
) -> None:
    folder = rig.folder(max_train_steps=6, save_every_n_steps=1, save_precision="fp16")
    target = small_disk / "run"
    target.mkdir()
    for name in ("config.toml", "dataset.toml"):
        (target / name).write_bytes((folder / name).read_bytes())
    with pytest.raises(Ended, match="pause"):  # before a save fails: there is no room for the next one
        train(target)
    files = list(target.rglob("*.safetensors"))
    assert files
    for file in files:
        assert load_file(file)
    assert not [entry for entry in target.rglob("*") if entry.name.endswith(".part")]
