"""Noise and losses: their formulas, and that chance belongs to the sample and not to its batch."""

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from sd_scripts_code import piece

from lora_core.engines.diffusers.losses import loss
from lora_core.engines.diffusers.noise import Draw, NoiseSchedule, draw
from lora_core.settings import LossSettings

SHAPE = (3, 4, 8, 8)
CPU = torch.device("cpu")


def schedule(prediction: str = "epsilon", *, zero_terminal: bool = False) -> NoiseSchedule:
    return NoiseSchedule(
        DDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type=prediction,
            rescale_betas_zero_snr=zero_terminal,
        ),
        CPU,
    )


def kept() -> torch.Tensor:
    """How much of the signal is left at each timestep, as the papers write it."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)


def numbers(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two pictures' worth of numbers and three timesteps, one of them the first."""
    rng = torch.Generator().manual_seed(seed)
    made = [torch.randn(SHAPE, generator=rng) for _ in range(2)]
    return made[0], made[1], torch.tensor([0, 400, 998])


EVERY_NOISE = LossSettings(
    noise_offset=0.1,
    noise_offset_random_strength=True,
    adaptive_noise_scale=0.05,
    multires_noise_iterations=6,
    ip_noise_gamma=0.1,
    ip_noise_gamma_random_strength=True,
)


def test_chance_belongs_to_the_sample_and_not_to_its_batch() -> None:
    whole = draw(7, 3, 0, SHAPE, 1000, EVERY_NOISE)
    parts = [draw(7, 3, first, (1, *SHAPE[1:]), 1000, EVERY_NOISE) for first in range(3)]
    for name in ("timesteps", "noise", "offset", "share", "coarse", "perturbation"):
        assert torch.equal(getattr(whole, name), torch.cat([getattr(part, name) for part in parts])), name


def test_noise_that_is_off_draws_nothing_and_moves_no_other_number() -> None:
    plain, every = draw(7, 3, 0, SHAPE, 1000), draw(7, 3, 0, SHAPE, 1000, EVERY_NOISE)
    assert (plain.offset, plain.share, plain.coarse, plain.perturbation) == (None,) * 4
    assert torch.equal(plain.noise, every.noise)
    assert torch.equal(plain.timesteps, every.timesteps)


def test_timesteps_stay_within_their_limits_and_reach_both() -> None:
    settings = LossSettings(min_timestep=100, max_timestep=103)
    drawn = draw(1, 0, 0, (200, 1, 1, 1), 1000, settings).timesteps
    assert set(drawn.tolist()) == {100, 101, 102}
    assert draw(1, 0, 0, (5, 1, 1, 1), 1000).timesteps.max() > 103


def test_offset_is_added_to_each_channel_as_a_whole() -> None:
    latents, _, _ = numbers()
    drawn = draw(7, 0, 0, SHAPE, 1000, LossSettings(noise_offset=0.2))
    noise, added = schedule().noises(latents, drawn, LossSettings(noise_offset=0.2))
    assert drawn.offset is not None
    torch.testing.assert_close(noise, drawn.noise + 0.2 * drawn.offset)
    assert noise is added
    bright = LossSettings(noise_offset=0.2, adaptive_noise_scale=-10.0)
    darker, _ = schedule().noises(latents, drawn, bright)
    strength = (0.2 - 10 * latents.mean(dim=(2, 3), keepdim=True).abs()).clamp(min=0)
    torch.testing.assert_close(darker, drawn.noise + strength * drawn.offset)


def test_a_random_strength_is_a_share_of_the_offset() -> None:
    drawn = draw(
        7, 0, 0, (200, 1, 1, 1), 1000, LossSettings(noise_offset=0.2, noise_offset_random_strength=True)
    )
    assert drawn.share is not None
    assert 0 <= drawn.share.min() < 0.1
    assert 0.9 < drawn.share.max() < 1


def test_coarse_noise_has_a_spread_of_one_and_neighbours_that_agree() -> None:
    settings = LossSettings(multires_noise_iterations=6, multires_noise_discount=0.9)
    shape = (4, 4, 32, 32)
    latents = torch.zeros(shape)
    noise, _ = schedule().noises(latents, draw(7, 0, 0, shape, 1000, settings), settings)
    torch.testing.assert_close(noise.std(dim=(1, 2, 3)), torch.ones(4))
    plain = draw(7, 0, 0, shape, 1000).noise

    def likeness(values: torch.Tensor) -> float:
        return float((values[..., 1:] * values[..., :-1]).mean() / values.square().mean())

    assert likeness(noise) > 0.3 > 0.1 > abs(likeness(plain))


def test_perturbation_is_seen_and_need_not_be_found() -> None:
    settings = LossSettings(ip_noise_gamma=0.1)
    drawn = draw(7, 0, 0, SHAPE, 1000, settings)
    noise, added = schedule().noises(torch.zeros(SHAPE), drawn, settings)
    assert torch.equal(noise, drawn.noise)
    assert float((added - noise).std()) == pytest.approx(0.1, rel=0.2)


def test_the_v_target_turns_the_noisy_picture_into_the_picture() -> None:
    latents, noise, timesteps = numbers()
    levels = schedule("v_prediction")
    noisy, v = levels.noisy(latents, noise, timesteps), levels.target(latents, noise, timesteps)
    alphas = kept()[timesteps].float().view(-1, 1, 1, 1)
    torch.testing.assert_close(alphas.sqrt() * noisy - (1 - alphas).sqrt() * v, latents, atol=1e-5, rtol=1e-5)
    assert schedule().target(latents, noise, timesteps) is noise


def lost(settings: LossSettings, prediction: str = "epsilon", **more: Any) -> float:
    predicted, target, timesteps = numbers()
    return float(loss(predicted, target, timesteps, schedule(prediction), settings, **more))


def expected(weight: Any, prediction: str = "epsilon") -> float:
    """The mean of the squared errors, each sample times `weight(snr)`."""
    predicted, target, timesteps = numbers()
    alphas = kept()[timesteps]
    each = (predicted - target).double().square().mean(dim=(1, 2, 3))
    return sum(float(value) * weight(float(a / (1 - a))) for value, a in zip(each, alphas, strict=True)) / 3


WEIGHTS: dict[str, tuple[dict[str, Any], str, Any]] = {
    "plain": ({}, "epsilon", lambda _snr: 1.0),
    "min-SNR": ({"min_snr_gamma": 5.0}, "epsilon", lambda snr: min(snr, 5) / snr),
    "min-SNR of v": ({"min_snr_gamma": 5.0}, "v_prediction", lambda snr: min(snr, 5) / (snr + 1)),
    "debiased": ({"debiased_estimation_loss": True}, "epsilon", lambda snr: 1 / math.sqrt(min(snr, 1000))),
    "debiased v": ({"debiased_estimation_loss": True}, "v_prediction", lambda snr: 1 / (min(snr, 1000) + 1)),
    "v like noise": (
        {"scale_v_pred_loss_like_noise_pred": True},
        "v_prediction",
        lambda snr: min(snr, 1000) / (min(snr, 1000) + 1),
    ),
    "noise like v": (
        {"v_pred_like_loss": 0.5},
        "epsilon",
        lambda snr: 1 + 0.5 * (min(snr, 1000) + 1) / min(snr, 1000),
    ),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_each_sample_counts_by_its_noise_level(name: str) -> None:
    values, prediction, weight = WEIGHTS[name]
    assert lost(LossSettings(**values), prediction) == pytest.approx(expected(weight), rel=1e-4)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("name", WEIGHTS)
def test_a_level_without_signal_gives_a_number(name: str, prediction: str) -> None:
    predicted, target, _ = numbers()
    last = torch.tensor([999, 999, 999])
    settings = LossSettings(**WEIGHTS[name][0])
    for kind in ("l2", "huber"):
        found = loss(
            predicted,
            target,
            last,
            schedule(prediction, zero_terminal=True),
            settings.model_copy(update={"loss_type": kind}),
        )
        assert math.isfinite(found), name


def test_a_mask_takes_parts_out_and_a_weight_makes_a_sample_count_less() -> None:
    predicted, target, _ = numbers()
    squares = (predicted - target).square()
    mask = torch.zeros(3, 1, 8, 8)
    mask[:, :, :4] = 1
    assert lost(LossSettings(), mask=mask) == pytest.approx(float(squares[:, :, :4].sum() / squares.numel()))
    weights = torch.tensor([1.0, 0.5, 0.0])
    each = squares.mean(dim=(1, 2, 3))
    assert lost(LossSettings(), weights=weights) == pytest.approx(float((each * weights).mean()))


@pytest.mark.parametrize("course", ["constant", "exponential", "snr"])
def test_huber_and_smooth_l1_are_their_formulas(course: str) -> None:
    predicted, target, timesteps = numbers()
    limits = {
        "constant": torch.full((3,), 0.2 * 1.5),
        "exponential": 1.5 * 0.2 ** (timesteps / 1000),
        "snr": 0.8 / (1 + ((1 - kept()) / kept()).sqrt()[timesteps]) ** 2 + 0.2,
    }
    limit = limits[course].double().view(-1, 1, 1, 1)
    above = ((predicted - target).double() ** 2 + limit**2).sqrt() - limit
    values: dict[str, Any] = {"huber_schedule": course, "huber_c": 0.2, "huber_scale": 1.5}
    assert lost(LossSettings(loss_type="huber", **values)) == pytest.approx(
        float((2 * limit * above).mean()), 1e-5
    )
    assert lost(LossSettings(loss_type="smooth_l1", **values)) == pytest.approx(
        float((2 * above).mean()), 1e-5
    )
    absolute = float((predicted - target).abs().mean())
    assert lost(LossSettings(loss_type="l1")) == pytest.approx(absolute)


def theirs(name: str, file: str = "library/custom_train_functions.py", **known: Any) -> Any:
    return piece(name, file, torch=torch, **known)


@pytest.mark.sd_scripts
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_losses_are_those_of_sd_scripts(prediction: str) -> None:
    predicted, target, timesteps = numbers()
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    theirs("prepare_scheduler_for_custom_training")(scheduler, "cpu")
    threshold, measured = (
        theirs(name, "library/train_util.py")
        for name in ("get_huber_threshold_if_needed", "conditional_loss")
    )
    scale = theirs("get_snr_scale")
    v = prediction == "v_prediction"
    for kind in ("l2", "l1", "huber", "smooth_l1"):
        for course in ("constant", "exponential", "snr"):
            args = SimpleNamespace(loss_type=kind, huber_schedule=course, huber_c=0.2, huber_scale=1.5)
            values = measured(predicted, target, kind, "none", threshold(args, timesteps, scheduler))
            each = values.mean(dim=(1, 2, 3))
            each = theirs("apply_snr_weight")(each, timesteps, scheduler, 5.0, v)
            each = theirs("scale_v_prediction_loss_like_noise_prediction", get_snr_scale=scale)(
                each, timesteps, scheduler
            )
            each = theirs("add_v_prediction_like_loss", get_snr_scale=scale)(each, timesteps, scheduler, 0.5)
            each = theirs("apply_debiased_estimation")(each, timesteps, scheduler, v)
            settings = LossSettings(
                **vars(args),
                min_snr_gamma=5.0,
                scale_v_pred_loss_like_noise_pred=True,
                v_pred_like_loss=0.5,
                debiased_estimation_loss=True,
            )
            assert lost(settings, prediction) == pytest.approx(float(each.mean()), rel=1e-5), (kind, course)


@pytest.mark.sd_scripts
def test_offset_noise_is_that_of_sd_scripts() -> None:
    latents, _, _ = numbers()
    settings = LossSettings(noise_offset=0.2, adaptive_noise_scale=-0.5)
    drawn = draw(7, 0, 0, SHAPE, 1000, settings)
    assert drawn.offset is not None

    def randn(*_shape: Any, **_where: Any) -> torch.Tensor:
        assert drawn.offset is not None
        return drawn.offset

    known = SimpleNamespace(randn=randn, abs=torch.abs, clamp=torch.clamp)
    apply = piece("apply_noise_offset", "library/custom_train_functions.py", torch=known)
    noise, _ = schedule().noises(latents, drawn, settings)
    torch.testing.assert_close(noise, apply(latents, drawn.noise, 0.2, -0.5))


@pytest.mark.sd_scripts
def test_coarse_noise_is_that_of_sd_scripts_for_one_sample() -> None:
    from lora_core.engines.diffusers.noise import Purpose, generator

    settings = LossSettings(multires_noise_iterations=6, multires_noise_discount=0.4)
    shape = (1, 4, 32, 24)
    drawn = draw(7, 0, 0, shape, 1000, settings)
    rng = generator(7, Purpose.TRAINING, 0, 0)
    rng.integers(1000)
    rng.standard_normal(shape[1:], dtype="float32")

    def randn(*size: int) -> torch.Tensor:
        return torch.from_numpy(rng.standard_normal(size, dtype="float32"))

    build = piece(
        "pyramid_noise_like",
        "library/custom_train_functions.py",
        torch=SimpleNamespace(nn=torch.nn, randn=randn),
        random=rng,
    )
    noise, _ = schedule().noises(torch.zeros(shape), drawn, settings)
    torch.testing.assert_close(noise, build(drawn.noise.clone(), "cpu", 6, 0.4))


def test_a_draw_moves_to_a_device_whole() -> None:
    drawn = draw(7, 0, 0, SHAPE, 1000, EVERY_NOISE)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    moved = drawn.to(device)
    assert isinstance(moved, Draw)
    assert torch.equal(moved.noise.cpu(), drawn.noise)
    assert moved.perturbation is not None
