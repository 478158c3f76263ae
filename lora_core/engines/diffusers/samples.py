"""Sample pictures drawn while a run goes on.

The loop stands here and not in diffusers' pipelines because those cast captions and latents to the
type of the first weight, which for weights in bf16 or fp8 spoils the picture. The samplers are
diffusers' own.

Covered: both families, every sampler that sd-scripts names, v-prediction; captions read exactly as in
training (clip skip, long ones, weights); a seed of its own for each prompt, so that samples can be
compared across steps. Drawing uses no random numbers of the training. A picture that cannot be drawn
is noted and the run goes on.

Not covered: reading prompts (see `prompts.py`), ControlNet, hires passes.
"""

import inspect
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import diffusers
import torch
from PIL import Image
from torch import Tensor

from lora_core.engines.diffusers.model import BaseModel
from lora_core.engines.diffusers.prompts import Prompt
from lora_core.engines.diffusers.text import Texts, size_conditions
from lora_core.errors import DiskFullError
from lora_core.reporting import Reporter
from lora_core.workspace import replacing

_EULER: Final = "EulerDiscreteScheduler"
_ANCESTRAL: Final = "EulerAncestralDiscreteScheduler"
_MULTISTEP: Final = "DPMSolverMultistepScheduler"
_SAMPLERS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "ddim": ("DDIMScheduler", {}),
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),  # as Stable Diffusion was published with it
    "euler": (_EULER, {}),
    "k_euler": (_EULER, {}),
    "euler_a": (_ANCESTRAL, {}),
    "k_euler_a": (_ANCESTRAL, {}),
    "heun": ("HeunDiscreteScheduler", {}),
    "dpm_2": ("KDPM2DiscreteScheduler", {}),
    "k_dpm_2": ("KDPM2DiscreteScheduler", {}),
    "dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "k_dpm_2_a": ("KDPM2AncestralDiscreteScheduler", {}),
    "dpmsolver": (_MULTISTEP, {"algorithm_type": "dpmsolver", "final_sigmas_type": "sigma_min"}),
    "dpmsolver++": (_MULTISTEP, {"algorithm_type": "dpmsolver++"}),
    "dpmsingle": ("DPMSolverSinglestepScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "k_lms": ("LMSDiscreteScheduler", {}),
}
"""sd-scripts' names, as diffusers' class and what it is told."""
_DRAWING_ERRORS: Final = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    ArithmeticError,
    LookupError,
    MemoryError,
    OSError,
    ImportError,
    DiskFullError,
)
"""What a picture that cannot be drawn raises: out of memory, a size the model cannot have, a full disk."""
_GRID: Final = 8
_SMALLEST: Final = 64


def sampler(name: str, base: BaseModel) -> Any:
    """The diffusers scheduler of this name, with the base model's noise levels and prediction.

    Raises:
        ValueError: there is none, or it cannot start from noise alone.
    """
    if name not in _SAMPLERS:
        raise ValueError(f"the sampler {name} is not one of {', '.join(_SAMPLERS)}")
    class_name, options = _SAMPLERS[name]
    kind: Any = getattr(diffusers, class_name)
    config = base.scheduler.config
    if config.rescale_betas_zero_snr:
        if "rescale_betas_zero_snr" not in inspect.signature(kind.__init__).parameters:
            raise ValueError(f"the sampler {name} cannot start from noise alone; take ddim or euler_a")
        # Or the first step would not be the last noise level (Lin et al., 2023).
        options = {**options, "timestep_spacing": "trailing"}
    return kind.from_config(config, **options)


class Samples:
    """Draws the prompts of a run with the networks that are being trained."""

    def __init__(
        self, base: BaseModel, texts: Texts, prompts: tuple[Prompt, ...], folder: Path, output_name: str
    ) -> None:
        self._base, self._texts, self._prompts = base, texts, prompts
        self._folder, self._name = folder, output_name

    def __bool__(self) -> bool:
        return bool(self._prompts)

    def draw(self, step: int, reporter: Reporter, precision: AbstractContextManager[Any]) -> list[Path]:
        """Draw every prompt; one that cannot be drawn is noted, and the run goes on."""
        paths = []
        with _resting(self._base), precision, torch.no_grad():
            for number, prompt in enumerate(self._prompts):
                try:
                    paths.append(self._save(self._picture(prompt), prompt, number, step))
                except _DRAWING_ERRORS as error:
                    reason = " ".join(str(error).split())[:200].rstrip(".")
                    reporter.note(f"Sample {number + 1} at step {step} was not drawn: {reason}.")
        return paths

    def _picture(self, prompt: Prompt) -> Image.Image:
        vae = self._base.vae
        scheduler = sampler(prompt.sampler, self._base)
        scheduler.set_timesteps(prompt.steps, device=self._base.unet.device)
        # On the CPU, so that a sample is the same picture whatever card trains.
        chance = torch.Generator().manual_seed(prompt.seed)
        across, down = (max(_SMALLEST, side // _GRID * _GRID) for side in (prompt.width, prompt.height))
        halvings = 2 ** (len(vae.config.block_out_channels) - 1)
        shape = (1, vae.config.latent_channels, down // halvings, across // halvings)
        latents = torch.randn(shape, generator=chance).to(self._base.unet.device)
        predict = self._predictor(prompt, torch.tensor([[down, across, 0, 0, down, across]]))
        latents = latents * scheduler.init_noise_sigma
        step = scheduler.step
        if "generator" in inspect.signature(step).parameters:
            step = partial(step, generator=chance)
        for timestep in scheduler.timesteps:
            predicted = predict(scheduler.scale_model_input(latents, timestep), timestep)
            latents = step(predicted, timestep, latents).prev_sample
        return self._decoded(latents)

    def _predictor(self, prompt: Prompt, sizes: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """What the UNet answers to latents and a timestep, with guidance (Ho and Salimans, 2022)."""
        guided = prompt.guidance > 1
        captions = [prompt.negative, prompt.text] if guided else [prompt.text]
        words = self._texts.now(captions)
        added = size_conditions(sizes.repeat(len(captions), 1), words)

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            asked = latents.repeat(len(captions), 1, 1, 1)
            answers: Tensor = self._base.unet(
                asked, timestep, words.hidden, added_cond_kwargs=added, return_dict=False
            )[0].float()
            if not guided:
                return answers
            without, with_it = answers.chunk(2)
            return without + prompt.guidance * (with_it - without)

        return predict

    def _decoded(self, latents: Tensor) -> Image.Image:
        vae = self._base.vae
        # As it was loaded: autocast would bring back the half precision that some VAEs fail in.
        with torch.autocast(latents.device.type, enabled=False):
            values = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)[0][0]
        if not torch.isfinite(values).all():
            raise ValueError(
                "the picture has values that are no numbers; see no_half_vae and the learning rate"
            )
        pixels = ((values.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())

    def _save(self, image: Image.Image, prompt: Prompt, number: int, step: int) -> Path:
        stamp = time.strftime("%Y%m%d%H%M%S")
        path = self._folder / f"{self._name}_{step:06d}_{number:02d}_{stamp}_{prompt.seed}.png"
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            image.save(part, format="PNG")
        return path


@contextmanager
def _resting(base: BaseModel) -> Iterator[None]:
    """The networks without dropout, and the VAE beside the UNet; afterwards all is as it was."""
    networks = [network for network in (base.unet, *base.text_encoders) if network.training]
    place = base.vae.device
    try:
        base.vae.to(base.unet.device)
        for network in networks:
            network.eval()
        yield
    finally:
        for network in networks:
            network.train()
        base.vae.to(place)
