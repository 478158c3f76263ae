"""Names of the kohya_ss GUI that are not those of sd-scripts, and what they are about.

Covered: its LoRA tab at commit 45088f0, and older names in its presets. Not covered: what decides
about the network (see `kohya_gui_network.py`).
"""

from collections.abc import Mapping
from typing import Final

FAMILIES: Final[Mapping[str, str]] = {
    "flux1_checkbox": "flux1",
    "sd3_checkbox": "sd3",
    "hunyuan_image_checkbox": "hunyuan-image",
    "anima_checkbox": "anima",
    "lumina_checkbox": "lumina",
    "sdxl": "sdxl",
}
"""Check boxes that choose the family."""

PASSED_ON_AS: Final[Mapping[str, str]] = {
    "optimizer": "optimizer_type",
    "max_resolution": "resolution",
}
"""Names of the GUI with those of sd-scripts."""

SCHEDULE_LENGTH: Final = frozenset({
    "epoch", "max_train_epochs", "max_train_steps", "lr_warmup", "lr_warmup_steps", "lr_scheduler_num_cycles",
})  # fmt: skip

_STARTED: Final = "It is about how the program is started."
_FORM: Final = "It is about the GUI's own form."
_GONE: Final = "The GUI does not pass it on."

OWN: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("num_cpu_threads_per_process", "num_processes", "num_machines", "multi_gpu", "gpu_ids"), _STARTED
    ),
    **dict.fromkeys(
        ("main_process_port", "dynamo_mode", "dynamo_use_fullgraph", "dynamo_use_dynamic"), _STARTED
    ),
    **dict.fromkeys(("extra_accelerate_launch_args",), _STARTED),
    **dict.fromkeys(("model_list", "save_as_bool", "save_as", "file_path", "headless", "print_only"), _FORM),
    **dict.fromkeys(("dataset_repeats", "lowvram", "no_token_padding", "stop_text_encoder_training"), _GONE),
    **dict.fromkeys(
        ("stop_text_encoder_training_pct", "lr_scheduler_timescale_unit", "gradient_checkpointing_unet"),
        _GONE,
    ),
    "noise_offset_type": "It says which of the GUI's two fields for noise counts.",
    "additional_parameters": "What stands in it is listed on its own.",
    "sdxl": "It says which script is used.",
    **dict.fromkeys(FAMILIES, "It says which script is used."),
    **dict.fromkeys(("train_inpainting",), "This app does not train inpainting."),
}
"""Keys that sd-scripts never gets, with the reason."""

OTHER_PREFIXES: Final = ("flux1_", "sd3_", "hunyuan_", "anima_", "lumina_")
OF_OTHER_FAMILIES: Final = frozenset({
    "ae", "apply_t5_attn_mask", "blocks_to_swap", "clip_g", "clip_g_dropout_rate", "clip_l",
    "cpu_offload_checkpointing", "discrete_flow_shift", "double_blocks_to_swap", "enable_all_linear",
    "fp8_base_unet", "ggpo_beta", "ggpo_sigma", "guidance_scale", "img_attn_dim", "img_mlp_dim",
    "img_mod_dim", "in_dims", "logit_mean", "logit_std", "mem_eff_save", "mode_scale",
    "model_prediction_type", "model_type", "pos_emb_random_crop_rate", "save_clip", "save_t5xxl",
    "show_timesteps", "show_timesteps_resolution", "single_blocks_to_swap", "single_dim", "single_mod_dim",
    "split_mode", "split_qkv", "t5xxl", "t5xxl_device", "t5xxl_dtype", "t5xxl_lr", "t5xxl_max_token_length",
    "timestep_sampling", "train_blocks", "train_double_block_indices", "train_lora_ggpo",
    "train_single_block_indices", "train_t5xxl", "txt_attn_dim", "txt_mlp_dim", "txt_mod_dim",
    "weighting_scheme",
})  # fmt: skip
