"""Samples that are drawn while a run goes on."""

from contextlib import nullcontext
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import tiny_sd1, tiny_sdxl
from trainer_rig import Ears, Rig, Trained, losses

from lora_core.engines.diffusers.model import BaseModel, load_base
from lora_core.engines.diffusers.prompts import read_prompts
from lora_core.engines.diffusers.samples import Samples, sampler
from lora_core.engines.diffusers.text import Texts
from lora_core.settings import (
    DatasetFile,
    DatasetSettings,
    ModelSettings,
    RunConfig,
    SubsetSettings,
    setting,
    with_values,
)

# diffusers 0.42 asks NumPy 2 for an array in a way that NumPy will stop allowing.
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_:DeprecationWarning"),
    # It means to drop the plain dpmsolver one day; sd-scripts has it.
    pytest.mark.filterwarnings("ignore:`algorithm_types dpmsolver:FutureWarning"),
]


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


def test_a_sample_that_cannot_be_drawn_is_noted_and_the_others_and_the_run_go_on(
    rig: Rig, train: Trained
) -> None:
    prompts = ["a cat --w 64 --h 64 --s 1 --ss nothing", "a dog --w 64 --h 64 --s 1"]
    ears, folder = Ears(), rig.folder(sample_at_first=True, sample_prompts=prompts)
    assert train(folder, ears).is_file()
    (note,) = [note for note in ears.notes if "Sample" in note]
    assert note.startswith("Sample 1 at step 0 was not drawn: the sampler nothing is not one of ddim, ")
    assert [file.stem.split("_")[2] for file in (folder / "samples").iterdir()] == ["01"]


# --- without a run ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, BaseModel]:
    root = tmp_path_factory.mktemp("bases")
    zero_snr = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    folders = {
        "sd1": tiny_sd1(root / "sd1"),
        "sdxl": tiny_sdxl(root / "sdxl"),
        "zero snr": tiny_sd1(root / "zero", **zero_snr),
    }
    return {
        name: load_base(plain_run(folder).model, plain_run(folder).precision)
        for name, folder in folders.items()
    }


def plain_run(folder: Path, **values: Any) -> RunConfig:
    run = RunConfig(
        model=ModelSettings(pretrained_model_name_or_path=folder),
        dataset=DatasetFile(datasets=(DatasetSettings(subsets=(SubsetSettings(image_dir=folder),)),)),
    )
    return with_values(run, values)


def drawn(base: BaseModel, folder: Path, ears: Ears | None = None, **values: Any) -> list[np.ndarray]:
    """The pictures of the prompts in `values`, as numbers."""
    run = plain_run(folder, **values)
    texts = Texts(base, run, torch.device("cpu"))
    samples = Samples(base, texts, read_prompts(run), folder / "samples", "tiny")
    return [np.asarray(Image.open(path)) for path in samples.draw(0, ears or Ears(), nullcontext())]


SAMPLERS = setting("sample_sampler").choices_for("diffusers")


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("sd1", [name for name in SAMPLERS if not str(name).startswith("k_")]),
        ("sdxl", ["ddim", "euler_a", "dpmsolver++"]),
    ],
)
def test_every_sampler_draws(
    bases: dict[str, BaseModel], tmp_path: Path, family: str, names: list[str]
) -> None:
    ears = Ears()
    prompts = [f"a cat --w 64 --h 64 --s 2 --d 1 --ss {name}" for name in names]
    pictures = dict(zip(names, drawn(bases[family], tmp_path, ears, sample_prompts=prompts), strict=True))
    assert ears.notes == []
    assert all(picture.shape == (64, 64, 3) and picture.std() > 0 for picture in pictures.values())
    assert not np.array_equal(pictures["ddim"], pictures["euler_a"])


def test_every_sampler_of_the_setting_has_its_scheduler(bases: dict[str, BaseModel]) -> None:
    made = {name: type(sampler(name, bases["sd1"])) for name in SAMPLERS}
    assert all(made[name] is made[name.removeprefix("k_")] for name in SAMPLERS if name.startswith("k_"))
    assert len(set(made.values())) == 10


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_sample_is_the_picture_that_diffusers_own_pipeline_draws(
    bases: dict[str, BaseModel], tmp_path: Path, family: str
) -> None:
    import diffusers

    base = bases[family]
    line = "a red cat --n a dog --w 64 --h 128 --s 3 --l 5.5 --d 9"
    (ours,) = drawn(base, tmp_path, sample_prompts=[line])
    scheduler: Any = diffusers.DDIMScheduler.from_config(base.scheduler.config)
    parts = {"unet": base.unet, "vae": base.vae, "scheduler": scheduler}
    encoders = dict(zip(("text_encoder", "text_encoder_2"), base.text_encoders, strict=False))
    words = dict(zip(("tokenizer", "tokenizer_2"), base.tokenizers, strict=False))
    if family == "sd1":
        pipe: Any = diffusers.StableDiffusionPipeline(
            **parts,
            **encoders,
            **words,
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    else:
        pipe = diffusers.StableDiffusionXLPipeline(**parts, **encoders, **words, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        "a red cat",
        negative_prompt="a dog",
        width=64,
        height=128,
        num_inference_steps=3,
        guidance_scale=5.5,
        generator=torch.Generator().manual_seed(9),
        output_type="np",
    ).images[0]
    assert np.abs(ours.astype(float) - theirs * 255).max() <= 1.0


def test_each_flag_of_a_prompt_changes_the_picture(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    plain = "a cat --w 64 --h 64 --s 2 --d 1"
    changed = ["--d 2", "--s 3", "--l 2", "--n a red dog", "--ss euler"]
    prompts = [plain, plain, *(f"{plain} {flag}" for flag in changed)]
    first, again, *others = drawn(bases["sd1"], tmp_path, sample_prompts=prompts)
    assert np.array_equal(first, again)
    assert not any(np.array_equal(first, other) for other in others)


def test_prompts_are_read_as_captions_are(bases: dict[str, BaseModel], tmp_path: Path) -> None:
    long = "a " * 80
    prompts = [f"{long}{word} --w 64 --h 64 --s 1 --d 1" for word in ("cat", "dog")]
    cut = drawn(bases["sd1"], tmp_path, sample_prompts=prompts)
    whole = drawn(bases["sd1"], tmp_path, sample_prompts=prompts, max_token_length=150)
    assert np.array_equal(*cut)
    assert not np.array_equal(*whole)


def test_a_model_that_starts_from_noise_alone_is_drawn_by_what_can_do_it(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    ears = Ears()
    prompts = [f"a cat --w 64 --h 64 --s 2 --ss {name}" for name in ("ddim", "euler_a", "heun")]
    pictures = drawn(bases["zero snr"], tmp_path, ears, sample_prompts=prompts)
    assert len(pictures) == 2
    (note,) = ears.notes
    assert note.endswith("the sampler heun cannot start from noise alone; take ddim or euler_a.")


def test_a_vae_that_gives_no_numbers_is_said_and_all_is_put_back(
    bases: dict[str, BaseModel], tmp_path: Path
) -> None:
    base, ears = bases["sd1"], Ears()
    base.unet.train()
    bias = base.vae.decoder.conv_in.bias
    kept = bias.data.clone()
    bias.data[0] = float("inf")
    assert drawn(base, tmp_path, ears, sample_prompts=["a cat --w 64 --h 64 --s 1"]) == []
    bias.data = kept
    assert "values that are no numbers; see no_half_vae" in ears.notes[0]
    assert base.unet.training
    base.unet.eval()
