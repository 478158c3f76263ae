"""Files of other tools: what each becomes, that every key is named, and that no secret is shown."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from lora_core.errors import FileTooNewError, SettingsError
from lora_core.settings import known, setting
from lora_core.settings.imports import Imported, combined, read_metadata, read_recipe, recognised

RECIPES = Path(__file__).parents[1] / "fixtures" / "recipes"
PARTS = ("taken", "translated", "ignored", "not_understood")


def imported(file: str) -> Imported:
    return read_recipe(file, (RECIPES / file).read_bytes())


def loaded(file: str) -> dict[str, Any]:
    text = (RECIPES / file).read_text("utf-8")
    return tomllib.loads(text) if file.endswith(".toml") else json.loads(text)


def leaves(value: Any, start: str = "") -> Iterator[str]:
    """The name of each value that is no table, such as `unet.train`."""
    if isinstance(value, Mapping) and value:
        for key, item in value.items():
            yield from leaves(item, f"{start}.{key}" if start else key)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for item in value:
            yield from leaves(item, start)
    else:
        yield start


def reasons(found: Imported, part: str) -> dict[str, str]:
    return {line.name: line.reason for line in getattr(found, part)}


FILES = {
    "sd_scripts_config.toml": "sd-scripts",
    "sd_scripts_dataset.toml": "sd-scripts dataset",
    "kohya_ss.json": "kohya_ss",
    "easy_training_scripts.toml": "easy-training-scripts",
    "easy_training_backend.json": "easy-training-backend",
    "hollowstrawberry.toml": "hollowstrawberry",
    "jelosus2.toml": "jelosus2",
    "onetrainer.json": "onetrainer",
    "lora_metadata.json": "lora",
}


@pytest.mark.parametrize(("file", "form"), FILES.items())
def test_a_format_is_recognised_and_every_key_is_named(file: str, form: str) -> None:
    found = imported(file)
    assert found.format == form == recognised(loaded(file))
    named = {part for group in PARTS for line in getattr(found, group) for part in line.name.split(".")}
    in_whole = {"secrets", "samples", "ss_datasets", "custom_attributes"}
    listed = {name.split(".")[-1] for name in leaves(loaded(file)) if not in_whole & set(name.split("."))}
    assert listed - named - in_whole == set()
    assert all(line.reason for part in PARTS[1:] for line in getattr(found, part))


@pytest.mark.parametrize("file", FILES)
def test_no_secret_is_taken_or_shown(file: str) -> None:
    shown = json.dumps(imported(file).record())
    assert "hf_abc" not in shown
    assert "0123456789abcdef" not in shown


@pytest.mark.parametrize("file", FILES)
def test_values_are_those_of_recipes_and_targets_stand_apart(file: str) -> None:
    found = imported(file)
    assert {setting(key).part for key in found.values} <= {"recipe"}
    assert {setting(key).part for key in found.target} <= {"target"}
    assert all(key in known.tables()["arguments"] for key in found.other)


def test_settings_of_sd_scripts_are_taken_and_windows_paths_survive() -> None:
    found = imported("sd_scripts_config.toml")
    assert str(found.target["pretrained_model_name_or_path"]) == r"D:\models\new\base.safetensors"
    assert str(found.target["vae"]) == r"C:\vae\users.safetensors"
    assert found.values["resolution"] == (512, 768)
    assert found.values["betas"] == (0.9, 0.99)
    assert found.values["text_encoder_lr"] == (5e-5,)
    assert "d_coef=2" in found.other.get("optimizer_args", ["d_coef=2"])
    assert found.values["full_bf16"] is True
    assert "text" in reasons(found, "translated")["training.unet_lr"]
    assert reasons(found, "not_understood") == {
        "training.lr_warmup_ratio": "There is no such key. Is it lr_warmup_steps?"
    }
    assert reasons(found, "ignored")["training.max_train_steps"].startswith("A number of epochs is set")


def test_what_a_whole_file_leaves_out_is_what_sd_scripts_takes() -> None:
    found = imported("sd_scripts_config.toml")
    assert found.values["network_train_unet_only"] is False
    assert found.values["cache_latents"] is False
    piece = read_recipe("piece.toml", b"network_dim = 8\n")
    assert piece.values == {"network_dim": 8}


def test_a_dataset_file_gives_the_first_folder_and_names_where_others_differ() -> None:
    found = imported("sd_scripts_dataset.toml")
    assert found.values["resolution"] == (1024, 1024)
    assert found.values["flip_aug"] is True
    assert "differ" in reasons(found, "ignored")["subsets 2.flip_aug"]
    assert [folder["num_repeats"] for folder in found.folders] == [5, 2]
    assert str(found.target["image_dir"]) == r"C:\pictures\zog"


def test_two_files_of_one_recipe_become_one() -> None:
    found = combined(imported("sd_scripts_config.toml"), imported("sd_scripts_dataset.toml"))
    assert (found.format, found.values["batch_size"], found.values["network_dim"]) == ("sd-scripts", 2, 32)


def test_the_gui_of_kohya_is_read_as_it_would_start_sd_scripts() -> None:
    found = imported("kohya_ss.json")
    assert found.family == "sdxl"
    assert (found.values["algo"], found.values["preset"], found.values["use_tucker"]) == (
        "loha",
        "attn-mlp",
        True,
    )
    assert found.values["lr_warmup_steps"] == 0.05
    assert found.values["max_train_epochs"] == found.values["lr_scheduler_num_cycles"] == 12
    assert found.values["network_train_unet_only"] is True
    assert found.values["multires_noise_iterations"] == 8
    assert "noise_offset" not in found.values
    assert found.values["max_grad_norm"] == 0.5
    assert found.values["cache_latents"] is False
    assert found.target["sample_prompts"] == ("zog on a hill --w 512", "zog at sea")
    ignored = reasons(found, "ignored")
    assert ignored["clip_skip"] == "SDXL always takes the same layers of its text encoders."
    assert "noise_offset_type" in ignored["noise_offset"]
    assert found.not_understood == ()


def test_what_easy_training_scripts_computes_at_the_start_is_done_here() -> None:
    found = imported("easy_training_scripts.toml")
    assert found.values["network_module"] == "lycoris.kohya"
    assert (found.values["lr_warmup_steps"], found.values["lr_scheduler"]) == (0.05, "cosine_with_restarts")
    assert found.values["optimizer_type"] == "pytorch_optimizer.CAME"
    assert reasons(found, "ignored")["network_args.network_args.dropout"]  # DoRA has none
    backend = imported("easy_training_backend.json")
    assert (backend.values["block_dims"], backend.values["gradient_checkpointing"]) == ("2,2,4", True)


def test_the_answer_of_the_backend_is_read_too() -> None:
    lines = {"args": ["network_dim = 4", 'optimizer_type = "AdamW"'], "tags": {"a": 1}}
    table = {**lines, "dataset": {"general": ["resolution = 512"], "subsets": [['image_dir = "/a"']]}}
    found = read_recipe("answer.json", json.dumps(table).encode())
    assert (found.values["network_dim"], found.values["resolution"]) == (4, (512, 512))


def test_onetrainer_maps_as_far_as_it_goes() -> None:
    found = imported("onetrainer.json")
    assert (found.values["network_dim"], found.values["network_alpha"]) == (32, 16.0)
    assert (found.values["network_module"], found.values["dora_wd"]) == ("lycoris.kohya", True)
    assert found.values["text_encoder_lr"] == (1e-5,)
    assert found.target["sample_prompts"] == (
        "zog on a hill --n blurry --w 832 --h 1216 --d 42 --s 20 --l 7",
    )
    assert set(reasons(found, "not_understood")) == {"sample_after", "dropout_of_a_later_version"}
    bare = read_recipe("p.json", b'{"training_method": "LORA", "learning_rate": 0.0003}')
    assert (bare.values["network_alpha"], bare.values["lr_scheduler"]) == (1.0, "constant_with_warmup")


def test_easy_scripts_takes_the_network_of_flux_by_itself() -> None:
    text = "[flux_args.args]\nguidance_scale = 1.0\n[optimizer_args.args]\nlearning_rate = 1e-4\n"
    found = read_recipe("flux.toml", text.encode())
    assert (found.family, found.values["network_module"]) == ("flux1", "networks.lora_flux")


def one_trainer(model: str, **more: Any) -> Imported:
    table = {"training_method": "LORA", "model_type": model, "learning_rate": 1e-4, **more}
    return read_recipe("x.json", json.dumps(table).encode())


@pytest.mark.parametrize(
    ("model", "noise", "values"),
    [
        (
            "FLUX_DEV_1",
            {"timestep_distribution": "LOGIT_NORMAL", "dynamic_timestep_shifting": True},
            {
                "network_module": "networks.lora_flux",
                "timestep_sampling": "flux_shift",
                "guidance_scale": 1.0,
            },
        ),
        (
            "CHROMA_1",
            {"timestep_distribution": "LOGIT_NORMAL", "timestep_shift": 3.0, "noising_weight": 0.5},
            {"timestep_sampling": "shift", "discrete_flow_shift": 3.0, "sigmoid_scale": 1.5},
        ),
        ("FLUX_DEV_1", {}, {"timestep_sampling": "uniform", "model_prediction_type": "raw"}),
        (
            "ANIMA",
            {"timestep_distribution": "LOGIT_NORMAL", "transformer": {"learning_rate": 3e-5}},
            {"network_module": "networks.lora_anima", "timestep_sampling": "sigmoid", "unet_lr": 3e-5},
        ),
        (
            "STABLE_DIFFUSION_35",
            {"timestep_distribution": "LOGIT_NORMAL", "noising_bias": -0.5, "timestep_shift": 3.0},
            {"weighting_scheme": "logit_normal", "logit_mean": -0.5, "training_shift": 3.0},
        ),
    ],
    ids=str,
)
def test_onetrainers_newer_families_come_with_their_network_and_noise_levels(
    model: str, noise: dict[str, Any], values: dict[str, Any]
) -> None:
    found = one_trainer(model, **noise)
    assert {key: found.values.get(key) for key in values} == values
    assert found.notes == (), "it is not said that this app does not train them"
    named = {line.name for part in PARTS for line in getattr(found, part)}
    assert set(noise) - {"transformer"} <= named


def test_what_onetrainer_does_otherwise_is_not_called_a_matter_of_the_program() -> None:
    found = one_trainer(
        "STABLE_DIFFUSION_15",
        ema="GPU",
        timestep_distribution="LOGIT_NORMAL",
        text_encoder={"stop_training_after": 30, "dropout_probability": 0.1},
    )
    assert reasons(found, "not_understood").keys() == {
        "ema",
        "timestep_distribution",
        "text_encoder.stop_training_after",
        "text_encoder.dropout_probability",
    }
    assert one_trainer("KREA_2").notes


def test_onetrainer_names_what_it_takes_together_and_what_stands_without_its_unit() -> None:
    table = {
        "training_method": "LORA",
        "model_type": "STABLE_DIFFUSION_XL_10_BASE",
        "unet": {"train": True, "learning_rate": None},
        "text_encoder": {"train": False, "learning_rate": 1e-5},
        "text_encoder_2": {"train": False, "learning_rate": None},
        "sample_after": 1,
        "save_every": 2,
    }
    found = read_recipe("p.json", json.dumps(table).encode())
    assert found.values["network_train_unet_only"] is True
    named = {line.name for part in PARTS for line in getattr(found, part)}
    assert set(leaves(table)) - named == set()
    assert reasons(found, "not_understood") == {"sample_after": "Here it is done after epochs or steps."}


def test_the_notes_in_a_lora_say_how_it_was_trained() -> None:
    found = read_metadata("zog.safetensors", loaded("lora_metadata.json"))
    assert (found.family, found.values["max_train_epochs"]) == ("sdxl", 10)
    assert (found.values["optimizer_type"], found.values["betas"]) == ("Prodigy", (0.9, 0.99))
    assert (found.values["conv_dim"], found.values["batch_size"]) == (8, 2)
    assert found.values["unet_lr"] is None
    assert found.values["network_train_unet_only"] is False
    assert found.target["metadata_trigger_phrase"] == "zog"
    with pytest.raises(SettingsError, match="no notes of a training run"):
        read_metadata("bare.safetensors", {"format": "pt"})


def test_a_kind_of_network_that_this_app_lacks_is_said_at_the_top() -> None:
    found = read_recipe("ia3.json", b'{"LoRA_type": "Flux1", "flux1_checkbox": true, "learning_rate": 0.1}')
    assert (found.family, "network_module" in found.values) == ("flux1", False)
    assert "A plain LoRA is set in its place" in found.notes[0]


def test_a_preset_of_a_newer_version_is_left_alone() -> None:
    with pytest.raises(FileTooNewError):
        read_recipe("p.toml", b"format = 99\n[recipe]\nnetwork_dim = 4\n")


def test_a_weight_for_class_images_counts_when_a_later_folder_holds_them() -> None:
    def read(second: bool) -> Imported:
        folders = [{"num_repeats": 1, "is_reg": False, "image_dir": "a"}]
        folders += [{"num_repeats": 1, "is_reg": second, "image_dir": "b"}]
        notes = {
            "ss_network_dim": "8",
            "ss_learning_rate": "0.0001",
            "ss_prior_loss_weight": "0.5",
            "ss_datasets": json.dumps([{"batch_size_per_device": 1, "subsets": folders}]),
        }
        return read_metadata("x.safetensors", notes)

    assert read(True).values["prior_loss_weight"] == 0.5
    assert "prior_loss_weight" not in read(False).values
