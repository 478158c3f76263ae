"""What one step does to the LoRA: forward, loss, backward, update; and how it is tested.

Covered: the networks on their device, one optimizer step, the loss on held-out pictures, what a
state holds of them. Not covered: when steps happen and what follows them (see `trainer.py`).
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from lora_core.engines.diffusers.batches import Batch, Place, Plan
from lora_core.engines.diffusers.compiling import Compiling
from lora_core.engines.diffusers.device import shrink_to_8_bits
from lora_core.engines.diffusers.latents import STEPS_AHEAD, Latents
from lora_core.engines.diffusers.losses import loss, squared
from lora_core.engines.diffusers.model import BaseModel
from lora_core.engines.diffusers.network import Network
from lora_core.engines.diffusers.network_places import UNET
from lora_core.engines.diffusers.noise import (
    Draw,
    NoiseSchedule,
    Purpose,
    draw,
    generator,
    normal,
    validation_timesteps,
)
from lora_core.engines.diffusers.optimizers import averaged, new_optimizer, optimizer_class
from lora_core.engines.diffusers.schedules import new_schedule
from lora_core.engines.diffusers.states import other_optimizer
from lora_core.engines.diffusers.text import Conditioning, Texts, size_conditions
from lora_core.settings import RunConfig


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gave, still on the device: reading a number waits until the step is done."""

    loss: Tensor
    """Mean over the batches of the step."""
    grad_norm: Tensor
    """Before clipping."""
    skipped: bool
    """True when fp16 left the step out, because its gradient was too large for it."""
    lr: float
    """The rate that the UNet's layers used; where only text encoders learn, that of the first."""
    rates: Mapping[str, float]
    """The rate of each group of weights, by the name that sd-scripts logs it under, such as `textencoder`."""


class Learner:
    """The base model with its LoRA, and all that moves it."""

    def __init__(
        self,
        run: RunConfig,
        base: BaseModel,
        latents: Latents,
        plan: Plan,
        accelerator: Accelerator,
        captions: Iterable[str] = (),
    ) -> None:
        """`captions` are all that the run will read, for `cache_text_encoder_outputs`."""
        self._run, self._latents, self._plan, self._accelerator = run, latents, plan, accelerator
        self._seed = run.batch.seed
        self._network = Network(base, run.network, self._seed)
        self.texts = Texts(base, run, accelerator.device)
        self.texts.prepare(captions)  # before the UNet takes its place on the GPU
        if run.precision.fp8_base:
            shrink_to_8_bits(base.unet)
        if run.precision.gradient_checkpointing:
            base.unet.enable_gradient_checkpointing()
            base.unet.train()  # diffusers checkpoints in training mode only; there is no dropout to wake
        self._network.to(accelerator.device)
        optimizer = new_optimizer(run, self._network.groups(run.optimizer))
        self._parameters = [weight for weight in self._network.parameters if weight.requires_grad]
        # Not handed to accelerate, which would step it once for every GPU.
        self._schedule = new_schedule(run, optimizer, plan.steps)
        self._unet, self._optimizer = accelerator.prepare(base.unet, optimizer)
        self.compiling = Compiling(
            base.unet, wanted=run.precision.torch_compile, device=accelerator.device.type
        )
        self._noise = NoiseSchedule(base.scheduler, accelerator.device)

    def step(self, place: Place) -> Outcome:
        """One optimizer step, on as many batches as are accumulated."""
        batches = self._plan.batches(place)
        for step in range(place.step + 1, min(place.step + 1 + STEPS_AHEAD, self._plan.steps)):
            self._latents.expect(self._plan.batches(self._plan.place(step)), step)
        losses, first = [], 0
        for number, batch in enumerate(batches):
            with nullcontext() if number == len(batches) - 1 else self._accelerator.no_sync(self._unet):
                batch_loss = self._batch_loss(batch, place, first)
                # accelerate divides by the number of batches that a full step has, as in sd-scripts.
                self._accelerator.backward(batch_loss)
            losses.append(batch_loss.detach())
            first += len(batch)
        limit = self._run.optimizer.max_grad_norm or math.inf
        grad_norm = self._accelerator.clip_grad_norm_(self._parameters, limit)
        rates = self._rates()
        self._optimizer.step()
        skipped = bool(self._optimizer.step_was_skipped)
        if not skipped:
            self._schedule.step()
        self._optimizer.zero_grad(set_to_none=True)
        if self._run.optimizer.scale_weight_norms:
            self._network.limit_norms(self._run.optimizer.scale_weight_norms)
        rate = rates.get(UNET, next(iter(rates.values())))
        return Outcome(torch.stack(losses).mean(), grad_norm, skipped, rate, rates)

    def _batch_loss(self, batch: Batch, place: Place, first: int) -> Tensor:
        words = self._plan.words(place, batch, first)
        self._network.seed_dropout(place.step, first)
        prepared = self._latents.batch(batch, (place.step, first))
        latents = prepared.latents
        drawn = draw(self._seed, place.step, first, latents.shape, len(self._noise), self._run.loss)
        drawn = drawn.to(latents.device)
        noise, added = self._noise.noises(latents, drawn, self._run.loss)
        predicted = self._predicted(latents, added, drawn.timesteps, self._read(words), prepared.size_ids)
        target = self._noise.target(latents, noise, drawn.timesteps)
        return loss(
            predicted,
            target,
            drawn.timesteps,
            self._noise,
            self._run.loss,
            mask=prepared.mask,
            weights=prepared.weights,
        )

    def _read(self, words: list[str]) -> Conditioning:
        if not self._network.trains_text:
            return self.texts(words)
        with self._accelerator.autocast():
            return self.texts.trained(words)

    def _predicted(
        self, latents: Tensor, noise: Tensor, timesteps: Tensor, texts: Conditioning, size_ids: Tensor
    ) -> Tensor:
        noisy = self._noise.noisy(latents, noise, timesteps)
        conditions = size_conditions(size_ids, texts)
        predicted: Tensor = self._unet(
            noisy, timesteps, texts.hidden, added_cond_kwargs=conditions, return_dict=False
        )[0]
        return predicted

    def _rates(self) -> dict[str, float]:
        """The rate of each group; where the optimizer finds one itself, what it makes of it."""
        scheduled = self._schedule.get_last_lr()
        return {
            group["name"]: float(group["lr"] if group["lr"] is not None else scheduled[number])
            * float(group.get("d", 1.0))
            for number, group in enumerate(self._optimizer.param_groups)
        }

    @torch.no_grad()
    def validation_loss(self, batches: Sequence[Batch]) -> float:
        """Mean loss over held-out pictures at four timesteps.

        Pictures, captions, noise and timesteps are the same at every call, and the mistakes are
        not weighed, so the values of one run, and of runs with the same `validation_seed`, can be
        compared whatever their noise and loss.
        """
        losses = []
        for number, batch in enumerate(batches):
            seed = self._run.dataset.datasets[batch[0].dataset].validation_seed
            prepared = self._latents.batch(batch)
            latents = prepared.latents
            texts = self.texts.now([picture.tested_words() for picture in batch])
            for timestep in validation_timesteps(len(self._noise)):
                rng = generator(self._seed if seed is None else seed, Purpose.VALIDATION, number, timestep)
                drawn = Draw(torch.full((len(batch),), timestep), normal(rng, latents.shape))
                drawn = drawn.to(latents.device)
                predicted = self._predicted(latents, drawn.noise, drawn.timesteps, texts, prepared.size_ids)
                losses.append(squared(predicted, self._noise.target(latents, drawn.noise, drawn.timesteps)))
        return float(torch.stack(losses).mean())

    def lora(self, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
        """The LoRA as the tensors of a file."""
        return self._network.tensors(dtype)

    def lora_state(self) -> dict[str, Tensor]:
        """The LoRA as it is trained, for a state."""
        return self._network.state()

    @contextmanager
    def meant(self) -> Iterator[None]:
        """For saves, samples and tests: the weights as the optimizer means them, without dropouts."""
        with averaged(self._optimizer.optimizer), self._network.resting():
            yield

    def movers(self) -> dict[str, Any]:
        """The state of all that moves the LoRA."""
        scaler = self._accelerator.scaler
        return {
            "class": optimizer_class(self._run),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": scaler.state_dict() if scaler is not None else {},
        }

    def load(self, lora: Mapping[str, Tensor], movers: Mapping[str, Any]) -> None:
        """Go back to what `lora_state` and `movers` returned.

        Raises:
            LoraFileError: the weights belong to another network.
            EngineError: the movers belong to another optimizer.
        """
        self._network.load(lora)
        needed = [set(group) for group in self._optimizer.param_groups]
        try:
            self._optimizer.load_state_dict(movers["optimizer"])
            self._schedule.load_state_dict(movers["schedule"])
            if self._accelerator.scaler is not None and movers.get("scaler"):
                self._accelerator.scaler.load_state_dict(movers["scaler"])
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise other_optimizer() from error
        if any(needs - set(group) for needs, group in zip(needed, self._optimizer.param_groups, strict=True)):
            raise other_optimizer()
