"""A whole run on a tiny base model: what it computes, what it leaves, and how it ends."""

import json
import math
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from trainer_rig import Ears, Rig, Trained, records

from lora_core.demo.recipe import BASE_DIR
from lora_core.engines.diffusers import trainer
from lora_core.errors import CaptionError, DatasetError, EngineError, ModelError, SettingsError
from lora_core.reporting import Ended


def losses(folder: Path) -> list[float]:
    return [record["loss"] for record in records(folder)]


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Every TensorBoard curve of a run, as (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]
    }


def test_a_run_ends_with_a_lora_file_and_one_record_a_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2)
    ears = Ears()
    path = train(folder, ears)
    assert path == folder / "checkpoints" / "tiny.safetensors"
    assert all(tensor.isfinite().all() for tensor in load_file(path).values())
    start, steps = records(folder, "start"), records(folder)
    total = start[0]["total"]
    assert total == 2 * start[0]["steps_per_epoch"]
    assert [record["step"] for record in steps] == list(range(1, total + 1))
    assert [record["epoch"] for record in steps] == [1] * (total // 2) + [2] * (total // 2)
    assert ears.steps[-1].step == ears.steps[-1].total == total
    assert ears.files == [(path, total)]


def test_the_phases_are_told_in_plain_words_and_in_order(rig: Rig, train: Trained) -> None:
    ears = Ears()
    train(
        rig.folder(max_train_steps=1, sample_prompts=["a cat --w 64 --h 64 --s 1"], sample_at_first=True),
        ears,
    )
    assert ears.phases == [
        "Reading the pictures",
        "Loading the base model",
        "Preparing the pictures",
        "Drawing samples",
        "Training",
        "Saving",
    ]


def test_a_run_learns(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=25, dataset={"batch_size": 4}, subset={"num_repeats": 10})
    train(folder)
    found = losses(folder)
    assert np.mean(found[-5:]) < 0.97 * np.mean(found[:5]), found


def test_the_same_seed_gives_the_same_run_and_another_seed_another(rig: Rig, train: Trained) -> None:
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        train(rig.folder(name, seed=seed, max_train_steps=3))
    one, again, other = (losses(rig.root / name) for name in ("one", "again", "other"))
    assert one == again
    assert set(one).isdisjoint(other)


def test_losses_agree_with_a_plain_loop_over_the_same_data(
    rig: Rig, train: Trained, base_model: Path
) -> None:
    folder = rig.folder(
        max_train_steps=5,
        gradient_accumulation_steps=2,
        lr_scheduler="cosine",
        lr_warmup_steps=2,
        max_grad_norm=0.03,
        network_alpha=3.0,
        subset={"num_repeats": 1, "shuffle_caption": True, "keep_tokens": 1},
    )
    train(folder)
    torch.testing.assert_close(losses(folder), _plain_loop(folder, base_model, 5), rtol=1e-5, atol=0)


def _plain_loop(folder: Path, base_model: Path, steps: int) -> list[float]:
    """Training as a textbook would write it: LoRA by forward hooks, AdamW and cosine by hand."""
    from diffusers import StableDiffusionPipeline

    from lora_core.engines.diffusers import noise
    from lora_core.engines.diffusers.batches import Plan
    from lora_core.engines.diffusers.latents import Latents
    from lora_core.engines.diffusers.pictures import read_pictures
    from lora_core.settings import load_run

    run = load_run(folder / "config.toml")
    pipe = StableDiffusionPipeline.from_pretrained(base_model, local_files_only=True)
    pipe.unet.requires_grad_(False)
    pictures = read_pictures(run, Ears()).training
    latents = Latents(pipe.vae, torch.device("cpu"), cached=True)
    latents.prepare(pictures, lambda _done: None)
    plan = Plan(run, pictures)
    weights = _hooked_lora(pipe.unet, run)
    moments = [(torch.zeros_like(weight), torch.zeros_like(weight)) for weight in weights]
    kept = (
        torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64).square().neg().add(1).cumprod(0)
    )
    found = []
    for step in range(steps):
        batches, first, parts = plan.batches(plan.place(step)), 0, []
        for batch in batches:
            drawn = noise.draw(7, step, first, (len(batch), *latents.batch(batch).shape[1:]), 1000)
            words = [
                picture.words(noise.generator(7, noise.Purpose.CAPTION, step, first + number))
                for number, picture in enumerate(batch)
            ]
            tokens = pipe.tokenizer(
                words, padding="max_length", truncation=True, return_tensors="pt"
            ).input_ids
            alphas = kept[drawn.timesteps].view(-1, 1, 1, 1)
            noisy = alphas.sqrt().float() * latents.batch(batch) + (1 - alphas).sqrt().float() * drawn.noise
            answer = pipe.unet(noisy, drawn.timesteps, pipe.text_encoder(tokens)[0].detach()).sample
            loss = torch.nn.functional.mse_loss(answer, drawn.noise)
            (loss / 2).backward()
            parts.append(float(loss.detach()))
            first += len(batch)
        found.append(sum(parts) / len(parts))
        rate = 0.01 * (step / 2 if step < 2 else 0.5 * (1 + math.cos(math.pi * (step - 2) / (steps - 2))))
        _adamw(weights, moments, step + 1, rate, clip=0.03)
    return found


def _hooked_lora(unet: Any, run: Any) -> list[torch.Tensor]:
    from lora_core.engines.diffusers.network import _first_down, sizes
    from lora_core.engines.diffusers.noise import Purpose, generator

    weights: list[torch.Tensor] = []
    for number, name in enumerate(sizes(unet, run.network)):
        module = unet.get_submodule(name)
        shape = (4, *module.weight.shape[1:])
        down = _first_down(torch.empty(shape), generator(7, Purpose.NETWORK, number)).requires_grad_()
        up = torch.zeros(module.weight.shape[0], 4, *module.weight.shape[2:], requires_grad=True)
        weights += [down, up]

        def add(
            module: Any, inputs: Any, output: Any, down: torch.Tensor = down, up: torch.Tensor = up
        ) -> Any:
            apply = torch.nn.functional.conv2d if down.dim() == 4 else torch.nn.functional.linear
            return output + 3.0 / 4 * apply(apply(inputs[0], down), up)

        module.register_forward_hook(add)
    return weights


def _adamw(weights: list[torch.Tensor], moments: Any, step: int, rate: float, clip: float) -> None:
    length = torch.cat([weight.grad.flatten() for weight in weights]).norm()
    scale = min(1.0, clip / float(length))
    with torch.no_grad():
        for weight, (mean, spread) in zip(weights, moments, strict=True):
            gradient = weight.grad * scale
            mean.mul_(0.9).add_(gradient, alpha=0.1)
            spread.mul_(0.999).add_(gradient.square(), alpha=0.001)
            weight.mul_(1 - rate * 0.01)
            corrected = (spread / (1 - 0.999**step)).sqrt() + 1e-8
            weight.sub_(rate * (mean / (1 - 0.9**step)) / corrected)
            weight.grad = None


def test_accumulated_batches_are_one_step_and_the_last_of_an_epoch_may_be_fewer(
    rig: Rig, train: Trained
) -> None:
    folder = rig.folder(max_train_epochs=2, gradient_accumulation_steps=2, dataset={"batch_size": 3})
    train(folder)
    (start,) = records(folder, "start")
    # Two repeats of sizes 2 + 1 + 1 + 1, cut by three: 2 + 1 + 1 or 2 + 1 + 1 + … batches.
    metadata = json.loads((folder / "progress.jsonl").read_text().splitlines()[0])
    assert start == metadata
    assert start["total"] == 2 * start["steps_per_epoch"] == len(records(folder))


def test_a_warm_up_starts_at_zero_and_a_cosine_ends_near_it(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=8, lr_scheduler="cosine", lr_warmup_steps=0.25)
    train(folder)
    rates = [record["lr"] for record in records(folder)]
    assert rates[:3] == pytest.approx([0.0, 0.005, 0.01])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 0.001


def test_the_rate_of_the_unet_goes_before_the_learning_rate(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=1, unet_lr=0.002)
    train(folder)
    assert records(folder)[0]["lr"] == 0.002


def test_validation_loss_is_the_same_for_the_same_lora_and_draws_nothing_from_training(
    rig: Rig, train: Trained
) -> None:
    tested = rig.folder(
        "tested",
        learning_rate=0.0,
        validate_every_n_steps=1,
        max_train_steps=4,
        dataset={"validation_split": 0.4},
    )
    plain = rig.folder(
        "plain",
        learning_rate=0.0,
        validate_every_n_epochs=99,
        max_train_steps=4,
        dataset={"validation_split": 0.4},
    )
    train(tested)
    train(plain)
    values = {record["validation_loss"] for record in records(tested, "validation")}
    assert len(values) == 1  # a rate of 0 changes nothing, so nothing but noise could move it
    assert losses(tested) == losses(plain)
    assert records(plain, "validation") == []


def test_validation_follows_the_held_out_pictures_once_an_epoch(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2, learning_rate=0.1, dataset={"validation_split": 0.4})
    train(folder)
    per_epoch = records(folder, "start")[0]["steps_per_epoch"]
    found = records(folder, "validation")
    assert [record["step"] for record in found] == [per_epoch, 2 * per_epoch]
    assert found[0]["validation_loss"] != found[1]["validation_loss"]


def test_tensorboard_has_every_curve_with_one_point_a_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=2, dataset={"validation_split": 0.4})
    train(folder)
    curves = scalars(folder)
    steps = [record["step"] for record in records(folder)]
    per_step = {
        "loss/current",
        "loss/average",
        "lr/unet",
        "norm/grad",
        "speed/steps_per_s",
        "memory/mib",
    }
    assert set(curves) == per_step | {"loss/epoch_average", "loss/validation"}
    for tag in per_step:
        assert [step for step, _ in curves[tag]] == steps, tag
    assert [step for step, _ in curves["loss/epoch_average"]] == [1, 2]
    assert [value for _, value in curves["loss/current"]] == pytest.approx(losses(folder), rel=1e-6)


def photographs(folder: Path) -> Path:
    """The photographs in scikit-image's wheel: square, lying and, turned, upright."""
    from skimage import data

    folder.mkdir()
    for name in ("astronaut", "coffee", "chelsea"):
        image = Image.fromarray(getattr(data, name)())
        image.save(folder / f"{name}.jpg")
        image.transpose(Image.Transpose.ROTATE_90).save(folder / f"{name} upright.jpg")
    return folder


@pytest.mark.parametrize(("base", "resolution"), [("tiny", 96), ("demo", 64), ("demo", 128)])
def test_real_photographs_in_three_shapes_train_at_several_bucket_sizes(
    rig: Rig, train: Trained, base: str, resolution: int
) -> None:
    from safetensors import safe_open

    run = rig.folder(
        max_train_epochs=1,
        pretrained_model_name_or_path=str(BASE_DIR if base == "demo" else rig.base),
        dataset={
            "resolution": resolution,
            "min_bucket_reso": 32,
            "max_bucket_reso": 256,
            "bucket_reso_steps": 16,
        },
        subset={
            "image_dir": str(photographs(rig.root / "photographs")),
            "class_tokens": "a photo",
            "num_repeats": 1,
        },
    )
    path = train(run)
    assert all(math.isfinite(loss) for loss in losses(run))
    with safe_open(path, "pt") as file:
        (dataset,) = json.loads(file.metadata()["ss_datasets"])
    sizes = {tuple(bucket["resolution"]) for bucket in dataset["bucket_info"]["buckets"].values()}
    assert {"wide" if w > h else "tall" if w < h else "square" for w, h in sizes} == {
        "wide",
        "tall",
        "square",
    }
    assert all(0.7 * resolution**2 < width * height <= resolution**2 for width, height in sizes)


def test_a_cut_off_picture_is_named_counted_and_costs_only_itself(
    rig: Rig, train: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    good = rig.pictures()
    folder.mkdir()
    for file in good.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    data = (folder / "01.png").read_bytes()
    (folder / "01.png").write_bytes(data[: len(data) // 2])
    (folder / "02.png").write_bytes(b"nothing")
    ears = Ears()
    run = rig.folder(max_train_epochs=1, subset={"image_dir": str(folder)})
    train(run, ears)
    assert sum("01.png" in note for note in ears.notes) == 1
    assert sum("02.png" in note for note in ears.notes) == 1
    assert records(run, "start")[0]["steps_per_epoch"] == 3


def test_when_every_picture_is_cut_off_the_run_is_refused(rig: Rig, train: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    data = (rig.pictures() / "01.png").read_bytes()
    (folder / "01.png").write_bytes(data[: len(data) // 2])
    run = rig.folder(subset={"image_dir": str(folder), "class_tokens": "x"})
    with pytest.raises(DatasetError):
        train(run)
    assert not (run / "checkpoints").exists()


def test_without_pictures_nothing_is_loaded(rig: Rig, train: Trained, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ears = Ears()
    with pytest.raises(DatasetError):
        train(rig.folder(subset={"image_dir": str(tmp_path / "empty")}), ears)
    assert ears.phases == ["Reading the pictures"]


def test_an_empty_caption_stops_the_run_before_anything_is_loaded(rig: Rig, train: Trained) -> None:
    folder = rig.folder()
    (rig.pictures() / "00.txt").write_bytes(b"")
    ears = Ears()
    with pytest.raises(CaptionError, match=r"00\.txt"):
        train(folder, ears)
    assert ears.phases == ["Reading the pictures"]


def test_what_the_trainer_lacks_stops_the_run_first_of_all(rig: Rig, train: Trained) -> None:
    ears = Ears()
    with pytest.raises(SettingsError, match="optimizer_type"):
        train(rig.folder(optimizer_type="Lion"), ears)
    assert ears.phases == []


def test_a_damaged_base_model_is_refused_by_name(rig: Rig, train: Trained, tmp_path: Path) -> None:
    import shutil

    broken = tmp_path / "broken base"
    shutil.copytree(rig.base, broken)
    weights = broken / "unet" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="broken base"):
        train(rig.folder(pretrained_model_name_or_path=str(broken)))


def test_a_request_to_stop_saves_a_state_and_ends_at_that_step(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=20)
    ears = Ears(asks={3: "stop"})
    with pytest.raises(Ended) as ended:
        train(folder, ears)
    assert (ended.value.request, ended.value.step) == ("stop", 3)
    assert ears.files == [(folder / "states" / "tiny-step00000003-state", 3)]
    assert len(records(folder)) == 3
    assert not (folder / "checkpoints" / "tiny.safetensors").exists()


def test_a_request_before_the_first_step_ends_without_a_state(rig: Rig, train: Trained) -> None:
    folder = rig.folder()
    with pytest.raises(Ended) as ended:
        train(folder, Ears(asks={-1: "stop"}))
    assert ended.value.step == 0
    assert not (folder / "states").exists()


def test_save_now_writes_a_lora_and_a_state_and_goes_on(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_steps=4)
    ears = Ears(takes={2: "save"})
    final = train(folder, ears)
    assert ears.files == [
        (folder / "checkpoints" / "tiny-step00000002.safetensors", 2),
        (folder / "states" / "tiny-step00000002-state", 2),
        (final, 4),
    ]


def test_saves_in_between_have_the_names_and_cadence_of_sd_scripts(rig: Rig, train: Trained) -> None:
    folder = rig.folder(
        max_train_epochs=3,
        save_every_n_epochs=1,
        save_every_n_steps=3,
        save_state=True,
        dataset={"batch_size": 8},
    )
    train(folder)
    per_epoch = records(folder, "start")[0]["steps_per_epoch"]
    total = 3 * per_epoch
    steps = {f"tiny-step{step:08d}" for step in range(3, total + 1, 3)}
    names = {path.stem for path in (folder / "checkpoints").iterdir()}
    assert names == {"tiny", "tiny-000001", "tiny-000002"} | steps
    states = {path.name for path in (folder / "states").iterdir()}
    ends = {*range(3, total + 1, 3), per_epoch, 2 * per_epoch, total}
    assert states == {f"tiny-step{step:08d}-state" for step in ends}


# diffusers 0.42 asks NumPy 2 for an array in a way that NumPy will stop allowing.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_samples_are_drawn_when_asked_and_are_the_same_for_the_same_lora(rig: Rig, train: Trained) -> None:
    folder = rig.folder(
        max_train_steps=3,
        learning_rate=0.0,
        sample_at_first=True,
        sample_every_n_steps=3,
        sample_prompts=["a cat --w 64 --h 96 --s 2 --d 5", "a dog --w 64 --h 64 --s 2 --ss euler_a"],
    )
    train(folder, Ears(takes={2: "sample"}))
    files = sorted((folder / "samples").iterdir())
    parts = [file.stem.split("_") for file in files]
    assert [(part[1], part[2], part[4]) for part in parts] == [
        (f"{step:06d}", prompt, seed) for step in (0, 2, 3) for prompt, seed in (("00", "5"), ("01", "7"))
    ]
    for prompt, shape in ((0, (96, 64, 3)), (1, (64, 64, 3))):
        drawn = [np.asarray(Image.open(BytesIO(file.read_bytes()))) for file in files[prompt::2]]
        assert drawn[0].shape == shape
        assert all(np.array_equal(drawn[0], each) for each in drawn)


def test_drawing_samples_changes_no_loss(rig: Rig, train: Trained) -> None:
    plain, drawn = (
        rig.folder("plain"),
        rig.folder(
            "drawn",
            sample_at_first=True,
            sample_every_n_steps=1,
            sample_prompts=["a cat --w 64 --h 64 --s 1"],
        ),
    )
    train(plain)
    train(drawn)
    assert losses(plain) == losses(drawn)


def test_a_sample_that_cannot_be_drawn_is_noted_and_the_run_goes_on(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers.samples import Samples

    def no_memory(_self: Samples) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Samples, "_ready", no_memory)
    ears = Ears()
    path = train(rig.folder(sample_at_first=True, sample_prompts=["a cat"]), ears)
    assert path.is_file()
    assert ears.notes == ["Sample 1 at step 0 was not drawn: out of memory."]


def test_a_loss_that_is_not_a_number_names_the_step_and_saves_nothing_after_it(
    rig: Rig, train: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers import learner

    plain, calls = learner.loss, []

    def broken(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return plain(predicted, target) * (math.nan if len(calls) == 3 else 1.0)

    monkeypatch.setattr(learner, "loss", broken)
    folder = rig.folder(save_every_n_steps=1, save_state=True, dataset={"batch_size": 8})
    with pytest.raises(EngineError, match="step 3"):
        train(folder)
    assert {path.name for path in (folder / "checkpoints").iterdir()} == {
        "tiny-step00000001.safetensors",
        "tiny-step00000002.safetensors",
    }
    assert all(
        tensor.isfinite().all()
        for file in folder.rglob("*.safetensors")
        for tensor in load_file(file).values()
    )
    assert len(records(folder)) == 2


def test_latents_that_are_not_kept_train_the_same(rig: Rig, train: Trained) -> None:
    kept, fresh = rig.folder("kept"), rig.folder("fresh", cache_latents=False)
    train(kept)
    train(fresh)
    assert losses(fresh) == pytest.approx(losses(kept), rel=1e-5)


def test_gradient_checkpointing_changes_no_loss(rig: Rig, train: Trained) -> None:
    plain, checkpointed = rig.folder("plain"), rig.folder("checkpointed", gradient_checkpointing=True)
    train(plain)
    train(checkpointed)
    assert losses(checkpointed) == pytest.approx(losses(plain), rel=1e-5)


def test_mixed_precision_stays_close_and_keeps_the_lora_in_full(rig: Rig, train: Trained) -> None:
    full, mixed = rig.folder("full"), rig.folder("mixed", mixed_precision="bf16", save_state=True)
    train(full)
    _reset_accelerate()
    train(mixed)
    assert losses(mixed) == pytest.approx(losses(full), rel=0.02)
    assert losses(mixed) != losses(full)
    state = next((mixed / "states").iterdir())
    assert {tensor.dtype for tensor in load_file(state / "lora.safetensors").values()} == {torch.float32}


def _reset_accelerate() -> None:
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def test_the_pace_tells_how_long_is_left(rig: Rig, train: Trained) -> None:
    ears = Ears()
    train(rig.folder(max_train_steps=5), ears)
    last = [progress for progress in ears.steps if progress.loss is not None]
    assert [progress.step for progress in last] == [1, 2, 3, 4, 5]
    assert last[-1].eta_s == 0
    for progress in last[:-1]:
        assert progress.eta_s is not None
        assert progress.steps_per_s is not None
        assert progress.eta_s * progress.steps_per_s == pytest.approx(5 - progress.step)


def test_two_folders_with_their_own_captions_and_repeats_train_together(rig: Rig, train: Trained) -> None:
    folder = rig.folder(max_train_epochs=1)
    second = rig.root / "more"
    second.mkdir()
    (second / "x.png").write_bytes((rig.pictures() / "00.png").read_bytes())
    with (folder / "dataset.toml").open("a") as file:
        file.write(f'[[datasets.subsets]]\nimage_dir = "{second}"\nnum_repeats = 5\nclass_tokens = "dog"\n')
    path = train(folder)
    from safetensors import safe_open

    with safe_open(path, "pt") as opened:
        folders = json.loads(opened.metadata()["ss_dataset_dirs"])
    assert folders == {"pictures": {"n_repeats": 2, "img_count": 5}, "more": {"n_repeats": 5, "img_count": 1}}


def test_the_module_that_trains_is_the_one_that_the_engine_calls(rig: Rig) -> None:
    folder = rig.folder(max_train_steps=1)
    assert trainer.train(folder, Ears()).is_file()
