"""What one step does to the LoRA: forward, loss, backward, update; and how it is tested.

Covered: the networks on their device, one optimizer step, the loss on held-out pictures, what a
state holds of them. Not covered: when steps happen and what follows them (see `trainer.py`).
"""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from lora_core.engines.diffusers.batches import Batch, Place, Plan
from lora_core.engines.diffusers.latents import Latents
from lora_core.engines.diffusers.lora_file import lora_tensors, set_lora_tensors
from lora_core.engines.diffusers.model import BaseModel, TextEmbeddings
from lora_core.engines.diffusers.network import add_lora, trained_parameters
from lora_core.engines.diffusers.noise import (
    Draw,
    NoiseSchedule,
    Purpose,
    draw,
    generator,
    loss,
    normal,
    validation_timesteps,
)
from lora_core.engines.diffusers.optimization import new_optimizer, new_schedule
from lora_core.settings import RunConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gave, still on the device: reading a number waits until the step is done."""

    loss: Tensor
    """Mean over the batches of the step."""
    grad_norm: Tensor
    """Before clipping."""
    lr: float
    """The rate that was used."""


class Learner:
    """The base model with its LoRA, and all that moves it."""

    def __init__(
        self, run: RunConfig, base: BaseModel, latents: Latents, plan: Plan, accelerator: Accelerator
    ) -> None:
        self._run, self._latents, self._plan, self._accelerator = run, latents, plan, accelerator
        self._seed = run.batch.seed
        add_lora(base.unet, run.network, self._seed)
        if run.precision.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
            base.unet.train()  # diffusers checkpoints in training mode only; there is no dropout to wake
        self._parameters = trained_parameters(base.unet)
        optimizer = new_optimizer(run.optimizer, self._parameters)
        # Not handed to accelerate, which would step it once for every GPU.
        self._schedule = new_schedule(run.schedule, optimizer, plan.steps)
        self._unet, self._optimizer = accelerator.prepare(base.unet, optimizer)
        self._texts = TextEmbeddings(base, accelerator.device)
        self._noise = NoiseSchedule(base.scheduler, accelerator.device)

    def step(self, place: Place) -> Outcome:
        """One optimizer step, on as many batches as are accumulated."""
        batches = self._plan.batches(place)
        losses, first = [], 0
        for number, batch in enumerate(batches):
            with nullcontext() if number == len(batches) - 1 else self._accelerator.no_sync(self._unet):
                batch_loss = self._batch_loss(batch, place.step, first)
                # accelerate divides by the number of batches that a full step has, as in sd-scripts.
                self._accelerator.backward(batch_loss)
            losses.append(batch_loss.detach())
            first += len(batch)
        limit = self._run.optimizer.max_grad_norm or math.inf
        grad_norm = self._accelerator.clip_grad_norm_(self._parameters, limit)
        rate = self._schedule.get_last_lr()[0]
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        return Outcome(torch.stack(losses).mean(), grad_norm, rate)

    def _batch_loss(self, batch: Batch, step: int, first: int) -> Tensor:
        words = [
            picture.words(generator(self._seed, Purpose.CAPTION, step, first + index))
            for index, picture in enumerate(batch)
        ]
        latents = self._latents.batch(batch)
        drawn = draw(self._seed, step, first, latents.shape, len(self._noise))
        return self._loss(latents, self._texts(words), drawn)

    def _loss(self, latents: Tensor, texts: Tensor, drawn: Draw) -> Tensor:
        noise = drawn.noise.to(latents.device, non_blocking=True)
        timesteps = drawn.timesteps.to(latents.device, non_blocking=True)
        noisy = self._noise.noisy(latents, noise, timesteps)
        predicted = self._unet(noisy, timesteps, texts, return_dict=False)[0]
        return loss(predicted, self._noise.target(noise))

    @torch.no_grad()
    def validation_loss(self, batches: Sequence[Batch]) -> float:
        """Mean loss over held-out pictures at four timesteps.

        Pictures, captions, noise and timesteps are the same at every call, so the values of one
        run, and of runs with the same `validation_seed`, can be compared.
        """
        losses = []
        for number, batch in enumerate(batches):
            seed = self._run.dataset.datasets[batch[0].dataset].validation_seed
            latents = self._latents.batch(batch)
            texts = self._texts([picture.caption for picture in batch])
            for timestep in validation_timesteps(len(self._noise)):
                rng = generator(self._seed if seed is None else seed, Purpose.VALIDATION, number, timestep)
                drawn = Draw(torch.full((len(batch),), timestep), normal(rng, latents.shape))
                losses.append(self._loss(latents, texts, drawn))
        return float(torch.stack(losses).mean())

    def lora(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The LoRA as the tensors of a file."""
        return lora_tensors(self._accelerator.unwrap_model(self._unet), dtype)

    def optimizer_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._optimizer.state_dict()
        return state

    def schedule_state(self) -> dict[str, Any]:
        state: dict[str, Any] = self._schedule.state_dict()
        return state

    def load(self, lora: Mapping[str, Tensor], optimizer: dict[str, Any], schedule: dict[str, Any]) -> None:
        """Go back to what `lora`, `optimizer_state` and `schedule_state` returned.

        Raises:
            LoraFileError: the state belongs to another network.
        """
        set_lora_tensors(self._accelerator.unwrap_model(self._unet), lora)
        self._optimizer.load_state_dict(optimizer)
        self._schedule.load_state_dict(schedule)
