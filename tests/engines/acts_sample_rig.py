"""What each setting of the model, the captions' reading, the noise, the loss and the batch does.

Covered: expected numbers at the first step, from the same pictures, noise and answers. Not covered: networks,
optimizers and data (see the other `acts_*_rig.py` modules).
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import torch
from acts_rig import FIRST, FOUR, Act, Seen, Twins, Use, captions, close, same_questions
from safetensors.torch import load_file, save_file
from single_files import single_file
from tiny_models import tiny_sd1
from torch import Tensor

from lora_core.engines.diffusers.noise import Draw, draw
from lora_core.settings import LossSettings

SEED: Final = 7
V: Final = {"v_parameterization": True}


def weighed(weight: Callable[[Tensor], Tensor]) -> Callable[[Seen, Seen], None]:
    """Each sample's squared mistake counts by its signal to noise ratio."""

    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        use = other.uses[0]
        assert one.uses[0].loss != use.loss
        close(use.loss, (use.errors * weight(use.snr)).mean())

    return shows


def measured(mistake: Callable[[Tensor], Tensor]) -> Callable[[Seen, Seen], None]:
    """The mistake of each number is measured so."""

    def shows(one: Seen, other: Seen) -> None:
        same_questions(one, other)
        use = other.uses[0]
        assert one.uses[0].loss != use.loss
        close(use.loss, mistake(use.predicted - use.target).mean())

    return shows


def huber(limit: float) -> Callable[[Tensor], Tensor]:
    return lambda d: 2 * limit * ((d.square() + limit**2).sqrt() - limit)


def drawn(use: Use, **settings: Any) -> Draw:
    return draw(SEED, 0, 0, use.latents.shape, 1000, LossSettings(**settings))


def noised(expected: Callable[[Draw, Tensor], Tensor], **settings: Any) -> Callable[[Seen, Seen], None]:
    """The noise to be found is this, from what chance gave and the latents."""

    def shows(one: Seen, other: Seen) -> None:
        use = other.uses[0]
        assert not torch.equal(one.uses[0].noise, use.noise)
        wanted = expected(drawn(use, **settings), use.latents)
        close(use.noise, wanted, atol=1e-5)
        close(use.target, wanted, atol=1e-5)

    return shows


def with_offset(brightness: float = 0.0) -> Callable[[Draw, Tensor], Tensor]:
    def expected(draws: Draw, latents: Tensor) -> Tensor:
        assert draws.offset is not None
        assert draws.share is not None
        strength = 0.1 * draws.share + brightness * latents.mean(dim=(2, 3), keepdim=True).abs()
        return draws.noise + strength * draws.offset

    return expected


def with_layers(draws: Draw, _latents: Tensor) -> Tensor:
    assert draws.coarse is not None
    noise = draws.noise + draws.coarse
    return noise / noise.std(dim=(1, 2, 3), keepdim=True)


def disturbed(**settings: Any) -> Callable[[Seen, Seen], None]:
    """What the model sees has more noise than what it should find."""

    def shows(one: Seen, other: Seen) -> None:
        use, draws = other.uses[0], drawn(other.uses[0], **settings)
        assert draws.perturbation is not None
        assert not torch.equal(one.uses[0].noise, use.noise)
        assert torch.equal(use.target, draws.noise)
        close(use.noise - use.target, draws.perturbation, atol=1e-6)

    return shows


def levels(within: Callable[[Tensor], Tensor]) -> Callable[[Seen, Seen], None]:
    def shows(one: Seen, other: Seen) -> None:
        assert all(bool(within(use.timesteps).all()) for use in other.uses)
        assert not all(bool(within(use.timesteps).all()) for use in one.uses)

    return shows


def another_seed(one: Seen, other: Seen) -> None:
    assert not torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].timesteps, other.uses[0].timesteps)
    assert any(not torch.equal(one.lora[name], other.lora[name]) for name in one.layers("lora_down"))
    close(other.uses[0].noise, draw(3, 0, 0, other.uses[0].latents.shape, 1000).noise)


def accumulated(one: Seen, other: Seen) -> None:
    assert (len(one.uses), len(other.uses)) == (2, 4)
    assert -(-one.steps_per_epoch // 2) == other.steps_per_epoch
    close(other.losses[0], sum(use.loss for use in other.uses[:2]) / 2)
    assert other.losses[0] != one.losses[0]


def class_images_count(one: Seen, other: Seen) -> None:
    found = [weight for use in other.uses for weight in use.weights.tolist()]
    assert {weight for use in one.uses for weight in use.weights.tolist()} == {1.0}
    assert set(found) == {0.25, 1.0}
    for use in other.uses:
        close(use.loss, (use.errors * use.weights).mean())


def masks_count(one: Seen, other: Seen) -> None:
    assert one.refused == "conditioning_data_dir"
    use = other.uses[0]
    assert use.mask is not None
    assert 0 < float(use.mask.mean()) < 1
    close(use.loss, ((use.predicted - use.target).square() * use.mask).mean())


def masks(twins: Twins) -> Path:
    """For each picture a mask whose left half is white."""
    from PIL import Image

    folder = twins.rig.root / "masks"
    if not folder.exists():
        folder.mkdir()
        for path in twins.rig.pictures().glob("*.png"):
            with Image.open(path) as image:
                mask = Image.new("L", image.size, 0)
            mask.paste(255, (0, 0, mask.width // 2, mask.height))
            mask.save(folder / path.name)
    return folder


def other_model(twins: Twins) -> Path:
    folder = twins.rig.root / "another base"
    if not folder.exists():
        shutil.copytree(twins.rig.base, folder)
        _scaled(folder / "unet" / "diffusion_pytorch_model.safetensors")
    return folder


def other_vae(twins: Twins) -> Path:
    folder = twins.rig.root / "another vae"
    if not folder.exists():
        shutil.copytree(twins.rig.base / "vae", folder)
        _scaled(folder / "diffusion_pytorch_model.safetensors")
    return folder


def _scaled(path: Path) -> None:
    save_file({name: tensor * 1.1 for name, tensor in load_file(path).items()}, path, {"format": "pt"})


def one_file(twins: Twins) -> Path:
    """A whole model in one file, with its tokenizer beside it."""
    path = twins.rig.root / "shelf" / "one.safetensors"
    if not path.exists():
        folder = tiny_sd1(twins.rig.root / "sd1")
        path.parent.mkdir()
        single_file(folder, path)
        shutil.copytree(folder / "tokenizer", path.parent / "tokenizer")
    return path


def spelling(twins: Twins) -> Path:
    """A tokenizer that knows no words, so that it spells all of them."""
    folder = twins.rig.root / "spelling"
    if not folder.exists():
        shutil.copytree(twins.rig.base / "tokenizer", folder)
        (folder / "merges.txt").write_text("#version: 0.2\n", "utf-8")
        (folder / "tokenizer.json").unlink(missing_ok=True)
    return folder


def another_model(one: Seen, other: Seen) -> None:
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert torch.equal(one.uses[0].latents, other.uses[0].latents)
    assert not torch.equal(one.uses[0].predicted, other.uses[0].predicted)
    assert other.notes["ss_sd_model_name"] == "another base"


def other_latents(one: Seen, other: Seen) -> None:
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].latents, other.uses[0].latents)
    assert one.losses[0] != other.losses[0]


def reads_otherwise(one: Seen, other: Seen) -> None:
    assert one.uses[0].words == other.uses[0].words
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].hidden, other.uses[0].hidden)
    assert one.losses[0] != other.losses[0]


def longer_captions(one: Seen, other: Seen) -> None:
    assert (one.uses[0].hidden.shape[1], other.uses[0].hidden.shape[1]) == (77, 152)
    close(other.uses[0].hidden[:, :5], one.uses[0].hidden[:, :5], atol=1e-5)


def brackets_weigh(one: Seen, other: Seen) -> None:
    use = other.uses[0]
    plain, strong = (use.hidden[use.words.index(text)] for text in ("cat", "(cat:1.5)"))
    close(strong[1], plain[1] * 1.5)
    close(strong[0], plain[0])
    assert not torch.equal(one.uses[0].hidden, use.hidden)


def predicts_v(one: Seen, other: Seen) -> None:
    use = other.uses[0]
    kept = (use.snr / (1 + use.snr)).view(-1, 1, 1, 1)
    close(use.target, kept.sqrt() * use.noise - (1 - kept).sqrt() * use.latents, atol=1e-5)
    assert torch.equal(one.uses[0].target, one.uses[0].noise)
    assert (one.notes["modelspec.prediction_type"], other.notes["modelspec.prediction_type"]) == (
        "epsilon",
        "v",
    )


def nothing_of_the_picture_at_the_end(one: Seen, other: Seen) -> None:
    close(other.uses[0].target, -other.uses[0].latents, atol=1e-5)
    assert not torch.allclose(one.uses[0].target, -one.uses[0].latents, atol=1e-3)


def sixteen_bits(one: Seen, other: Seen) -> None:
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].predicted, other.uses[0].predicted)
    assert torch.equal(other.uses[0].predicted, other.uses[0].predicted.bfloat16().float())
    close(one.losses[0], other.losses[0], rtol=0.05)


def eight_bits(one: Seen, other: Seen) -> None:
    assert torch.equal(one.uses[0].noise, other.uses[0].noise)
    assert not torch.equal(one.uses[0].predicted, other.uses[0].predicted)
    close(one.losses[0], other.losses[0], rtol=0.2)


def file_is_rounded(one: Seen, other: Seen) -> None:
    assert one.losses == other.losses
    for name, tensor in one.lora.items():
        assert torch.equal(tensor.to(torch.bfloat16), other.lora[name])


HUBER: Final = {"loss_type": "huber", "huber_schedule": "constant", **FIRST}
OFFSET: Final = {"noise_offset": 0.1, **FIRST}
LAYERS: Final = {"multires_noise_iterations": 6, **FIRST}

MODEL: Final[dict[str, Act]] = {
    "pretrained_model_name_or_path": Act(other_model, another_model, FIRST),
    "vae": Act(other_vae, other_latents, FIRST),
    "no_half_vae": Act(False, other_latents, {"mixed_precision": "bf16", **FIRST}),
    "v_parameterization": Act(True, predicts_v, FIRST),
    "zero_terminal_snr": Act(True, nothing_of_the_picture_at_the_end, {**V, "min_timestep": 999, **FIRST}),
    "tokenizer_cache_dir": Act(
        spelling,
        reads_otherwise,
        {"pretrained_model_name_or_path": one_file, "resolution": (64, 64), "enable_bucket": False, **FIRST},
    ),
}
TEXT: Final[dict[str, Act]] = {
    "clip_skip": Act(2, reads_otherwise, FIRST),
    "max_token_length": Act(150, longer_captions, FIRST),
    "weighted_captions": Act(
        True, brackets_weigh, {"image_dir": captions("cat", "(cat:1.5)"), "num_repeats": 1, **FIRST}
    ),
}
LOSS: Final[dict[str, Act]] = {
    "noise_offset": Act(0.1, noised(with_offset(), noise_offset=0.1), FIRST),
    "noise_offset_random_strength": Act(
        True, noised(with_offset(), noise_offset=0.1, noise_offset_random_strength=True), OFFSET
    ),
    "adaptive_noise_scale": Act(0.5, noised(with_offset(0.5), noise_offset=0.1), OFFSET),
    "multires_noise_iterations": Act(6, noised(with_layers, multires_noise_iterations=6), FIRST),
    "multires_noise_discount": Act(
        0.6, noised(with_layers, multires_noise_iterations=6, multires_noise_discount=0.6), LAYERS
    ),
    "ip_noise_gamma": Act(0.1, disturbed(ip_noise_gamma=0.1), FIRST),
    "ip_noise_gamma_random_strength": Act(
        True,
        disturbed(ip_noise_gamma=0.1, ip_noise_gamma_random_strength=True),
        {"ip_noise_gamma": 0.1, **FIRST},
    ),
    "min_timestep": Act(900, levels(lambda at: at >= 900), FOUR),
    "max_timestep": Act(100, levels(lambda at: at < 100), FOUR),
    "loss_type": Act("l1", measured(torch.abs), FIRST),
    "huber_schedule": Act("constant", measured(huber(0.1)), {"loss_type": "huber", **FIRST}),
    "huber_c": Act(0.3, measured(huber(0.3)), HUBER),
    "huber_scale": Act(2.0, measured(huber(0.2)), HUBER),
    "min_snr_gamma": Act(0.05, weighed(lambda snr: snr.clamp(max=0.05) / snr), FIRST),
    "debiased_estimation_loss": Act(True, weighed(lambda snr: 1 / snr.clamp(max=1000).sqrt()), FIRST),
    "scale_v_pred_loss_like_noise_pred": Act(
        True, weighed(lambda snr: snr.clamp(max=1000) / (snr.clamp(max=1000) + 1)), {**V, **FIRST}
    ),
    "v_pred_like_loss": Act(
        0.5, weighed(lambda snr: 1 + 0.5 * (snr.clamp(max=1000) + 1) / snr.clamp(max=1000)), FIRST
    ),
}
BATCH: Final[dict[str, Act]] = {
    "gradient_accumulation_steps": Act(2, accumulated),
    "seed": Act(3, another_seed, FIRST),
    "prior_loss_weight": Act(
        0.25,
        class_images_count,
        {"is_reg": True, "second": {"is_reg": False}, "image_dir": captions("a cat"), "max_train_epochs": 1},
    ),
    "masked_loss": Act(True, masks_count, {"conditioning_data_dir": masks, **FIRST}),
}
PRECISION: Final[dict[str, Act]] = {
    "mixed_precision": Act("bf16", sixteen_bits, FIRST),
    "save_precision": Act("bf16", file_is_rounded, FIRST),
    "fp8_base": Act(True, eight_bits, {"mixed_precision": "bf16", **FIRST}),
}
