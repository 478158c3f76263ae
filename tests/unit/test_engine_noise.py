"""Chance, noise and loss depend on seed, step and sample alone."""

import numpy as np
import torch
from diffusers import DDPMScheduler

from lora_core.engines.diffusers.losses import squared
from lora_core.engines.diffusers.noise import (
    NoiseSchedule,
    Purpose,
    draw,
    generator,
    normal,
    validation_timesteps,
)

SHAPE = (3, 4, 8, 8)


def test_the_same_place_always_gives_the_same_numbers() -> None:
    first, again = (generator(5, Purpose.TRAINING, 100, 3).random(50) for _ in range(2))
    assert np.array_equal(first, again)


def test_seed_purpose_and_each_part_of_the_place_change_the_numbers() -> None:
    places = [
        (5, Purpose.TRAINING, 1, 2),
        (6, Purpose.TRAINING, 1, 2),
        (5, Purpose.ORDER, 1, 2),
        (5, Purpose.TRAINING, 2, 1),
        (5, Purpose.TRAINING, 1, 3),
    ]
    drawn = {tuple(generator(*place).random(4)) for place in places}
    assert len(drawn) == len(places)


def test_a_sample_draws_the_same_numbers_whatever_batch_it_is_in() -> None:
    whole = draw(1, 9, 0, SHAPE, 1000)
    tail = draw(1, 9, 1, (2, *SHAPE[1:]), 1000)
    assert torch.equal(whole.noise[1:], tail.noise)
    assert torch.equal(whole.timesteps[1:], tail.timesteps)


def test_drawing_leaves_the_global_streams_alone() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  the stream that is not used
    draw(1, 2, 0, SHAPE, 1000)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002  the same


def test_noise_is_standard_normal_and_timesteps_cover_the_whole_schedule() -> None:
    drawn = [draw(3, step, 0, (4, 4, 16, 16), 1000) for step in range(200)]
    noise = torch.cat([each.noise.flatten() for each in drawn])
    assert abs(float(noise.mean())) < 0.01
    assert abs(float(noise.std()) - 1) < 0.01
    timesteps = torch.cat([each.timesteps for each in drawn])
    assert 0 <= int(timesteps.min()) < 20
    assert 980 < int(timesteps.max()) <= 999


def test_noisy_latents_are_those_of_diffusers_own_scheduler() -> None:
    scheduler = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    latents, drawn = normal(generator(1, Purpose.LATENT), SHAPE), draw(1, 2, 0, SHAPE, 1000)
    ours = NoiseSchedule(scheduler, torch.device("cpu")).noisy(latents, drawn.noise, drawn.timesteps)
    theirs = scheduler.add_noise(latents, drawn.noise, drawn.timesteps)
    torch.testing.assert_close(ours, theirs)


def test_the_loss_weighs_every_sample_alike() -> None:
    predicted = torch.zeros(2, 1, 2, 2)
    target = torch.stack([torch.full((1, 2, 2), 1.0), torch.full((1, 2, 2), 3.0)])
    assert float(squared(predicted, target)) == 5.0


def test_validation_timesteps_are_those_of_sd_scripts() -> None:
    assert validation_timesteps(1000) == [200, 400, 600, 800]
