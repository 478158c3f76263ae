"""Names of OneTrainer with those of sd-scripts, and what the others are about.

Covered: what maps to one setting each. Not covered: what maps to several (see `one_trainer.py`).
"""

from collections.abc import Mapping
from typing import Any, Final

FAMILIES: Final[Mapping[str, str]] = {
    "STABLE_DIFFUSION_15": "sd15",
    "STABLE_DIFFUSION_XL_10_BASE": "sdxl",
    **dict.fromkeys((f"STABLE_DIFFUSION_{n}" for n in ("20", "20_BASE", "21", "21_BASE")), "sd2"),
    **dict.fromkeys(("STABLE_DIFFUSION_3", "STABLE_DIFFUSION_35"), "sd3"),
    "FLUX_DEV_1": "flux1",
    "CHROMA_1": "chroma",
    "ANIMA": "anima",
}
_CALLED: Final = "sd-scripts calls it {}."
_ALIKE: Final = "sd-scripts calls it {}, and it acts alike."

SIMPLE: Final[Mapping[str, tuple[str, str]]] = {
    # key -> (our setting, reason; empty for a name that both share)
    "base_model_name": ("pretrained_model_name_or_path", _CALLED.format("pretrained_model_name_or_path")),
    "vae.model_name": ("vae", _CALLED.format("vae")),
    "learning_rate": ("learning_rate", ""),
    "learning_rate_cycles": ("lr_scheduler_num_cycles", _CALLED.format("lr_scheduler_num_cycles")),
    "epochs": ("max_train_epochs", _CALLED.format("max_train_epochs")),
    "batch_size": ("batch_size", ""),
    "gradient_accumulation_steps": ("gradient_accumulation_steps", ""),
    "aspect_ratio_bucketing": ("enable_bucket", _CALLED.format("enable_bucket")),
    "latent_caching": ("cache_latents", _CALLED.format("cache_latents")),
    "clip_grad_norm": ("max_grad_norm", _CALLED.format("max_grad_norm")),
    "offset_noise_weight": ("noise_offset", _ALIKE.format("noise_offset")),
    "perturbation_noise_weight": ("ip_noise_gamma", _ALIKE.format("ip_noise_gamma")),
    "rescale_noise_scheduler_to_zero_terminal_snr": (
        "zero_terminal_snr",
        _CALLED.format("zero_terminal_snr"),
    ),
    "force_v_prediction": ("v_parameterization", _CALLED.format("v_parameterization")),
    "dropout_probability": ("network_dropout", _ALIKE.format("network_dropout")),
    "lora_model_name": ("network_weights", _CALLED.format("network_weights")),
    "unet.gradient_checkpointing": ("gradient_checkpointing", _CALLED.format("gradient_checkpointing")),
    "transformer.guidance_scale": ("guidance_scale", _CALLED.format("guidance_scale")),
    "transformer.attention_mask": ("apply_t5_attn_mask", _CALLED.format("apply_t5_attn_mask")),
    "transformer.gradient_checkpointing": (
        "gradient_checkpointing",
        _CALLED.format("gradient_checkpointing"),
    ),
}

SCHEDULES: Final[Mapping[str, tuple[str, str]]] = {
    "CONSTANT": ("constant", ""),
    "LINEAR": ("linear", ""),
    "COSINE": ("cosine", ""),
    "COSINE_WITH_HARD_RESTARTS": ("cosine_with_restarts", ""),
    "COSINE_WITH_RESTARTS": (
        "cosine_with_restarts",
        "There the rate also rises slowly at a restart; here it jumps.",
    ),
    "REX": ("rex", "The built-in engine has this course."),
    "ADAFACTOR": ("adafactor", ""),
}
DTYPES: Final[Mapping[str, str]] = {
    "FLOAT_16": "fp16", "BFLOAT_16": "bf16", "FLOAT_32": "full", "TFLOAT_32": "full",
}  # fmt: skip
OPTIMIZERS: Final[Mapping[str, str]] = {
    "ADAMW": "AdamW", "ADAMW_8BIT": "AdamW8bit", "ADAFACTOR": "Adafactor", "LION": "Lion",
    "LION_8BIT": "Lion8bit", "PRODIGY": "Prodigy",
    "PRODIGY_PLUS_SCHEDULE_FREE": "prodigyplus.ProdigyPlusScheduleFree",
    "SCHEDULE_FREE_ADAMW": "AdamWScheduleFree", "SCHEDULE_FREE_SGD": "SGDScheduleFree",
    "CAME": "pytorch_optimizer.CAME", "DADAPT_ADAM": "DAdaptAdam", "DADAPT_LION": "DAdaptLion",
    "DADAPT_SGD": "DAdaptSGD", "DADAPT_ADAN": "DAdaptAdan", "DADAPT_ADA_GRAD": "DAdaptAdaGrad",
    "ADAM": "Adam", "RMSPROP": "RMSprop", "SGD": "SGD", "ADAGRAD": "Adagrad",
}  # fmt: skip

STARTS: Final[Mapping[str, Any]] = {
    "learning_rate": 3e-6, "learning_rate_scheduler": "CONSTANT", "learning_rate_warmup_steps": 200.0,
    "epochs": 100, "batch_size": 1, "resolution": "512", "train_dtype": "FLOAT_16", "lora_rank": 16,
    "lora_alpha": 1.0, "optimizer.optimizer": "ADAMW", "text_encoder.train": True,
    "latent_caching": True,
    "aspect_ratio_bucketing": True,
    "clip_grad_norm": 1.0,
}  # fmt: skip
"""Values that OneTrainer has where a file names none; its presets leave most of them out."""

_PROGRAM: Final = "It is about the program, not about the training."
_MEMORY: Final = "It changes speed or memory."
_LAYERS: Final = "A LoRA here changes the layers of its own kind of network."
ABOUT_THE_PROGRAM: Final[Mapping[str, str]] = {
    **dict.fromkeys((
        "__version", "training_method", "model_type", "debug_mode", "debug_dir", "workspace_dir",
        "cache_dir", "huggingface_cache_dir", "offline_mode", "validation", "continue_last_backup",
        "prevent_overwrites", "include_train_config", "output_model_format", "concept_file_name",
        "clear_cache_before_training", "only_cache", "sample_definition_file_name", "sample_skip_first",
        "sample_image_format", "sample_video_format", "sample_audio_format", "samples_to_tensorboard",
        "non_ema_sampling", "save_skip_first", "save_filename_prefix", "rolling_backup",
        "rolling_backup_count", "backup_before_save", "backup_after", "backup_after_unit",
    ), _PROGRAM),
    **dict.fromkeys((
        "multi_gpu", "device_indexes", "gradient_reduce_precision", "fused_gradient_reduce",
        "async_gradient_reduce", "async_gradient_reduce_buffer", "async_offloading", "compile",
        "dataloader_threads", "train_device", "temp_device", "fallback_train_dtype", "enable_autocast_cache",
        "attention_mechanism", "gradient_checkpointing", "frames", "weight_dtype", "lora_weight_dtype",
        "embedding_weight_dtype", "layer_offload_fraction", "unet.weight_dtype", "text_encoder.weight_dtype",
        "text_encoder_2.weight_dtype", "vae.weight_dtype", "text_encoder.gradient_checkpointing",
        "text_encoder_2.gradient_checkpointing", "lokr_vec_trick", "transformer.weight_dtype",
    ), _MEMORY),
    **dict.fromkeys(("layer_filter", "layer_filter_preset", "layer_filter_regex"), _LAYERS),
    **dict.fromkeys(("lora_decompose_norm_epsilon", "bundle_additional_embeddings"), _MEMORY),
}  # fmt: skip
OF_OPTIMIZERS: Final = frozenset({
    "beta3", "clip_threshold", "d0", "d_coef", "decay_rate", "decouple", "growth_rate", "momentum",
    "relative_step", "safeguard_warmup", "scale_parameter", "use_bias_correction", "warmup_init", "amsgrad",
    "slice_p", "nesterov",
})  # fmt: skip
"""Arguments of optimizers that have the same names here."""
FOR_A_WHILE: Final[Mapping[str, str]] = {
    "stop_training_after": "Here a part that is trained learns until the end.",
    "dropout_probability": "Here captions are left out for each folder: see caption_dropout_rate.",
}
"""What a part of the model may have besides its rate, by the end of its key, with why it is not taken."""
STARTS_OF_OTHERS: Final = (
    "tensorboard", "cloud", "secrets", "embedding", "additional_embeddings", "ema_", "prior.", "transformer.",
    "decoder", "effnet_encoder.", "unconditional_transformer.", "quantization.", "text_encoder_3",
    "text_encoder_4", "oft_", "unet.", "text_encoder.", "text_encoder_2", "vae.", "optimizer_defaults",
    "text_encoder_sequence_length", "vb_loss_strength", "unmasked_", "normalize_masked", "masked_prior",
    "text_encoder_layer_skip",
)  # fmt: skip
