"""Going on from a saved state: the same numbers to the last bit, one curve, and honest words if not."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from trainer_rig import Ears, Rig, Trained, losses, records

from lora_core.engines import manifest
from lora_core.errors import EngineError, LoraFileError
from lora_core.reporting import Ended

EVERYTHING: dict[str, Any] = {
    # Each of these decides something at every step or draws random numbers.
    "max_train_epochs": 2,
    "gradient_accumulation_steps": 2,
    "lr_scheduler": "cosine",
    "lr_warmup_steps": 2,
    "network_dropout": 0.1,
    "network_args": ["conv_dim=2", "conv_alpha=1.0", "rank_dropout=0.1", "module_dropout=0.1"],
    "network_train_unet_only": False,
    "text_encoder_lr": [0.001],
    "scale_weight_norms": 1.0,
    "cache_latents": False,  # pictures are cut and coloured anew at each use
    "masked_loss": True,
    "noise_offset": 0.1,
    "noise_offset_random_strength": True,
    "adaptive_noise_scale": 0.01,
    "multires_noise_iterations": 4,
    "ip_noise_gamma": 0.1,
    "ip_noise_gamma_random_strength": True,
    "min_snr_gamma": 5.0,
    "loss_type": "huber",
    "sample_prompts": ["a cat --w 64 --h 64 --s 1"],
    "sample_every_n_steps": 4,
    "validate_every_n_steps": 3,
    "dataset": {"batch_size": 2, "validation_split": 0.2},
    "subset": {
        "num_repeats": 4,
        "shuffle_caption": True,
        "keep_tokens": 1,
        "caption_dropout_rate": 0.2,
        "caption_dropout_every_n_epochs": 2,
        "caption_tag_dropout_rate": 0.2,
        "enable_wildcard": True,
        "token_warmup_min": 1,
        "token_warmup_step": 5,
        "flip_aug": True,
        "random_crop": True,
        "color_aug": True,
        "alpha_mask": True,
    },
}
"""The one run whose two halves must be the whole, to the last bit."""
ROLLING: dict[str, dict[str, Any]] = {
    "Prodigy": {"optimizer_type": "Prodigy", "learning_rate": 1.0, "optimizer_args": ["d0=0.001"]},
    "schedule-free": {"optimizer_type": "AdamWScheduleFree", "save_every_n_steps": 1},
    "Adafactor": {"optimizer_type": "Adafactor"},
    "CAME": {"optimizer_type": "CAME"},
    "Lion": {"optimizer_type": "Lion", "lr_scheduler": "rex"},
    "a learned scale and LoRA+": {
        "network_module": "lycoris.kohya",
        "network_args": ["use_scalar=True", "dora_wd=True", "rank_dropout=0.3", "loraplus_lr_ratio=4"],
    },
}


def stopped(rig: Rig, train: Trained, name: str, step: int, **config: Any) -> Path:
    """A run that was stopped after `step`; returns its state."""
    folder = rig.folder(name, **config)
    with pytest.raises(Ended):
        train(folder, Ears(asks={step: "stop"}))
    return folder / "states" / f"tiny-step{step:08d}-state"


@pytest.mark.timeout(900)  # two runs and a fresh start of torch; a busy machine needs minutes
def test_a_run_resumed_in_a_new_process_in_the_middle_of_an_epoch_repeats_every_bit(
    rig: Rig, train: Trained
) -> None:
    for caption in rig.pictures().glob(
        "*.txt"
    ):  # with something to choose from, line by line and word by word
        caption.write_text(f"a {{photo|drawing}} of sks cat, {{red|blue}}, {caption.stem}\nsks, {{a|b}}, c\n")
    whole = rig.folder("whole", **EVERYTHING)
    train(whole)
    (start,) = records(whole, "start")
    stop_at = start["steps_per_epoch"] + 2
    assert stop_at % start["steps_per_epoch"] not in {0, start["steps_per_epoch"] - 1}
    state = stopped(rig, train, "parts", stop_at, **EVERYTHING)

    parts = rig.root / "parts"
    command = [sys.executable, "-m", "lora_core.engines.diffusers", str(parts / "config.toml")]
    done = subprocess.run(
        [*command, "--out", str(parts), "--resume", str(state)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LORA_THREADS": str(torch.get_num_threads())},
    )
    assert done.returncode == 0, done.stderr
    assert "not bit for bit" not in done.stdout
    assert losses(parts) == losses(whole)
    for kind, key in (("validation", "validation_loss"), ("epoch", "epoch_loss"), ("step", "lr")):
        assert [record[key] for record in records(parts, kind)] == [
            record[key] for record in records(whole, kind)
        ]
    first, second = (load_file(run / "checkpoints" / "tiny.safetensors") for run in (whole, parts))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(
    "config",
    [
        {"mixed_precision": "bf16"},
        {"cache_latents": False, "gradient_checkpointing": True},
        {"subset": {"num_repeats": 3, "shuffle_caption": True}, "dataset": {"batch_size": 3}},
        *ROLLING.values(),
    ],
    ids=["bf16", "no cache", "shuffle", *ROLLING],
)
def test_resuming_is_exact_with_each_feature(rig: Rig, train: Trained, config: dict[str, Any]) -> None:
    whole = rig.folder("whole", max_train_steps=6, **config)
    train(whole)
    state = stopped(rig, train, "parts", 3, max_train_steps=6, **config)
    ears = Ears()
    train(rig.root / "parts", ears, resume=state)
    assert losses(rig.root / "parts") == losses(whole)
    assert not any("not bit for bit" in note for note in ears.notes)


def test_a_run_can_be_stopped_and_resumed_at_every_step(rig: Rig, train: Trained) -> None:
    config = {"max_train_steps": 4, "gradient_accumulation_steps": 2, "lr_scheduler": "cosine"}
    whole = rig.folder("whole", **config)
    train(whole)
    state = stopped(rig, train, "parts", 1, **config)
    for step in (2, 3):
        with pytest.raises(Ended):
            train(rig.root / "parts", Ears(asks={step: "pause"}), resume=state)
        state = state.with_name(f"tiny-step{step:08d}-state")
    train(rig.root / "parts", resume=state)
    assert losses(rig.root / "parts") == losses(whole)


def test_a_crashed_run_goes_on_from_its_last_state_with_one_curve(rig: Rig, train: Trained) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = rig.folder(max_train_steps=6, save_every_n_steps=2, save_state=True)
    train(folder)
    before = losses(folder)
    train(folder, resume=folder / "states" / "tiny-step00000002-state")
    assert [record["step"] for record in records(folder)] == [1, 2, 3, 4, 5, 6]
    assert losses(folder) == before
    assert records(folder, "start")[0]["resumed_from"] == 2
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/current")] == [1, 2, 3, 4, 5, 6]
    assert [event.value for event in events.Scalars("loss/current")] == pytest.approx(before)


def test_resuming_into_another_folder_starts_a_curve_at_the_next_step(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=4)
    other = rig.folder("other", max_train_steps=4)
    train(other, resume=state)
    assert [record["step"] for record in records(other)] == [3, 4]


def test_the_setting_resume_goes_on_as_well(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=4)
    other = rig.folder("other", max_train_steps=4, resume=str(state))
    train(other)
    assert [record["step"] for record in records(other)] == [3, 4]


def test_the_file_of_a_resumed_run_tells_of_the_whole_run(rig: Rig, train: Trained) -> None:
    from safetensors import safe_open

    state = stopped(rig, train, "parts", 2, max_train_steps=4)
    path = train(rig.root / "parts", resume=state)
    position = json.loads((state / "state.json").read_text())
    with safe_open(path, "pt") as file:
        notes = file.metadata()
    assert notes["ss_steps"] == "4"
    assert notes["ss_session_id"] == str(position["session_id"])
    assert notes["ss_training_started_at"] == str(position["started_at"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"learning_rate": 0.005}, "settings"), ({"seed": 8}, "settings"), ({"max_train_steps": 5}, "settings")],
)
def test_a_changed_setting_is_told_as_not_bit_for_bit(
    rig: Rig, train: Trained, change: dict[str, Any], reason: str
) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=3)
    ears = Ears()
    train(rig.folder("other", **{"max_train_steps": 3, **change}), ears, resume=state)
    assert len(ears.notes) == 1
    assert "not bit for bit" in ears.notes[0]
    assert reason in ears.notes[0]


def test_an_edited_caption_is_told_as_not_bit_for_bit(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=3)
    (rig.pictures() / "00.txt").write_text("a dog\n", "utf-8")
    ears = Ears()
    train(rig.root / "parts", ears, resume=state)
    assert any("not bit for bit" in note and "pictures" in note for note in ears.notes)


def test_another_base_model_of_the_same_names_and_sizes_is_told_and_one_that_moved_is_not(
    rig: Rig, train: Trained
) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=3)
    moved = rig.root / "elsewhere"
    shutil.copytree(rig.base, moved)
    ears = Ears()
    train(
        rig.folder("moved", max_train_steps=3, pretrained_model_name_or_path=str(moved)), ears, resume=state
    )
    assert not ears.notes
    weights = moved / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({name: 1.01 * tensor for name, tensor in load_file(weights).items()}, weights, {"format": "pt"})
    train(
        rig.folder("other", max_train_steps=3, pretrained_model_name_or_path=str(moved)), ears, resume=state
    )
    assert any("not bit for bit" in note and "base model" in note for note in ears.notes)


def test_another_machine_is_told_as_not_bit_for_bit(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 2, max_train_steps=3)
    record = json.loads((state / "state.json").read_text())
    record["origin"] |= {"torch": "1.0", "threads": "64"}
    (state / "state.json").write_text(json.dumps(record))
    ears = Ears()
    train(rig.root / "parts", ears, resume=state)
    assert any("torch was 1.0" in note and "threads was 64" in note for note in ears.notes)


def test_a_state_of_another_rank_is_refused(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 2)
    with pytest.raises(LoraFileError, match="another network"):
        train(rig.folder("other", network_dim=8), resume=state)


@pytest.mark.parametrize("other", ["Lion", "AdamWScheduleFree", "Prodigy"])
def test_a_state_of_another_optimizer_is_refused_before_anything_is_loaded(
    rig: Rig, train: Trained, other: str
) -> None:
    state, ears = stopped(rig, train, "parts", 2), Ears()
    with pytest.raises(EngineError, match="another optimizer"):
        train(rig.folder("other", optimizer_type=other, learning_rate=1.0), ears, resume=state)
    assert ears.phases == []
    train(rig.folder("same", optimizer_type="torch.optim.adamw.AdamW"), ears, resume=state)


@pytest.mark.parametrize("movers", [{"optimizer": 3}, {"optimizer": {"state": {}, "param_groups": 5}}, [1]])
def test_a_state_whose_optimizer_is_none_is_refused(rig: Rig, train: Trained, movers: Any) -> None:
    state = stopped(rig, train, "parts", 2)
    torch.save(movers, state / "optimizer.pt")
    record = json.loads((state / "state.json").read_text())
    record["files"]["optimizer.pt"] = manifest.facts((state / "optimizer.pt").read_bytes())
    (state / "state.json").write_text(json.dumps(record))
    with pytest.raises(EngineError):
        train(rig.root / "parts", resume=state)


def test_a_state_beyond_the_end_of_the_run_is_refused(rig: Rig, train: Trained) -> None:
    state = stopped(rig, train, "parts", 3)
    with pytest.raises(EngineError, match="step 3"):
        train(rig.folder("other", max_train_steps=2), resume=state)


def test_a_run_that_crashed_after_its_last_step_only_writes_its_file(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=3, save_state_on_train_end=True)
    path = train(folder)
    before = load_file(path)
    path.unlink()
    train(folder, resume=folder / "states" / "tiny-step00000003-state")
    after = load_file(path)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert len(records(folder)) == 3


def test_a_missing_state_is_refused_before_anything_is_loaded(rig: Rig, train: Trained) -> None:
    ears = Ears()
    with pytest.raises(EngineError, match="not there"):
        train(rig.folder(), ears, resume=rig.root / "nowhere")
    assert ears.phases == []


def test_the_bare_command_prints_the_error_and_fails(rig: Rig) -> None:
    config = rig.folder(optimizer_type="NoSuchOptimizer") / "config.toml"
    done = subprocess.run(
        [sys.executable, "-m", "lora_core.engines.diffusers", str(config), "--out", str(rig.root / "out")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "optimizer_type" in done.stderr
    assert "Traceback" not in done.stderr


def test_pictures_that_only_moved_to_another_folder_change_no_bit(rig: Rig, train: Trained) -> None:
    whole = rig.folder("whole", max_train_steps=4)
    train(whole)
    stopped(rig, train, "parts", 2, max_train_steps=4)
    moved = rig.root / "moved"
    rig.pictures().rename(moved)
    parts = rig.folder("parts", max_train_steps=4, subset={"image_dir": str(moved)})
    ears = Ears()
    train(parts, ears, resume=parts / "states" / "tiny-step00000002-state")
    assert ears.notes == []
    assert losses(parts) == losses(whole)
