"""The parts of the demo base: how large each network is, and how they are saved as one folder.

Covered: the four networks' sizes, the noise schedule, an ordinary diffusers StableDiffusionPipeline
folder in half precision. The layer names are those of Stable Diffusion 1.x, so that tools that
know its LoRA files know these too.

Not covered: training them (see train_base.py). This module imports torch; pages must not import it.
"""

from pathlib import Path
from typing import Final

import torch
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from lora_core.demo.shapes import SIZE
from lora_core.demo.tokenizer import LENGTH

LATENT_SIZE: Final = SIZE // 4
"""Width and height of a latent: the VAE halves a picture twice."""
TEXT_WIDTH: Final = 64


def new_vae() -> AutoencoderKL:
    """A VAE of about 0.8 million parameters: 64 x 64 pixels to 16 x 16 x 4 latents."""
    return AutoencoderKL(
        block_out_channels=(24, 48, 64),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=4,
        sample_size=SIZE,
    )


def new_unet() -> UNet2DConditionModel:
    """A UNet of about 3.7 million parameters with cross-attention on its two lower levels.

    Attention on the upper level, 16 x 16, would double the time of a step and is not needed: one
    shape on a plain background is decided on 8 x 8. Measured on one core, batches of 16: 0.42 s
    against 0.81 s a step.
    """
    return UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        block_out_channels=(48, 96, 96),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        norm_num_groups=16,
        # Named so in diffusers, but for this class it is the number of heads, as in SD 1.x.
        attention_head_dim=4,
        cross_attention_dim=TEXT_WIDTH,
    )


def new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """A causal text encoder of two layers, 64 wide, with a row for every token."""
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=TEXT_WIDTH,
            intermediate_size=4 * TEXT_WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=LENGTH,
            projection_dim=TEXT_WIDTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def new_schedule() -> DDIMScheduler:
    """Stable Diffusion 1.x's own noise schedule: scaled-linear betas over 1,000 steps.

    Drawing starts at the last of them ("trailing"): on a step before it, pure noise would be taken
    for the trace of a grey picture, and backgrounds would come out grey.
    """
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
        timestep_spacing="trailing",
    )


def save_base(
    folder: Path,
    *,
    vae: AutoencoderKL,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
) -> None:
    """Write an ordinary Stable Diffusion folder, weights in half precision.

    The networks passed in are halved in place. The tokenizer's files are written by
    tokenizer.write_tokenizer, because transformers saves another form than SD 1.x folders have.
    """
    pipeline = StableDiffusionPipeline(
        vae=vae.half(),
        unet=unet.half(),
        text_encoder=text_encoder.half(),
        tokenizer=tokenizer,
        scheduler=new_schedule(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)


def load_base(folder: Path) -> StableDiffusionPipeline:
    """The saved folder as a pipeline in single precision, without any network access."""
    pipeline: StableDiffusionPipeline = StableDiffusionPipeline.from_pretrained(
        folder, dtype=torch.float32, local_files_only=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
