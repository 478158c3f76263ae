"""Errors of settings, pictures and captions, as sd-scripts and the libraries of both engines report them.

Covered: what the engine refuses and what it stumbles over. Not covered: what is refused before a run starts
(`lora_core.planning`).
"""

from typing import Final

from lora_core.jobs.explain._form import Row, row

ROWS: Final[tuple[Row, ...]] = (
    row(
        "no_images",
        r"No data found\. Please verify",
        "No pictures were found, so nothing was trained.",
        "Choose the folder that holds the pictures, or the parent of folders named like 10_name.",
        anywhere=True,
    ),
    row(
        "image_too_large",
        r"image too large, but cropping and bucketing are disabled",
        "A picture is larger than the training size, and buckets are turned off.",
        "Turn on buckets (enable_bucket).",
        ("enable_bucket", True),
    ),
    row(
        "image_broken",
        r"UnidentifiedImageError|cannot identify image file|image file is truncated|broken data stream"
        r"|DecompressionBomb|broken PNG file",
        "A picture could not be read.",
        "Open the picture that the log names. Replace it by a good copy, or remove it.",
    ),
    row(
        "captions_cached",
        r"when caching Text Encoder output,",
        "Captions that are cached cannot change during the training.",
        "Turn off shuffling, dropout of captions and tags, and token warm-up, or turn off the text "
        "encoder's cache.",
        ("shuffle_caption", False),
        ("caption_dropout_rate", 0.0),
        ("caption_tag_dropout_rate", 0.0),
        ("token_warmup_step", 0.0),
        ("cache_text_encoder_outputs", False),
    ),
    row(
        "text_encoder_cached",
        r"network for Text Encoder cannot be trained with caching Text Encoder outputs",
        "A text encoder cannot be trained while its outputs are cached.",
        "Train the image model only, or turn off the text encoder's cache.",
        ("network_train_unet_only", True),
        ("cache_text_encoder_outputs", False),
    ),
    row(
        "latents_cached",
        r"when caching latents, either color_aug or random_crop cannot be used",
        "Pictures that are cached cannot be changed during the training.",
        "Turn off color_aug and random_crop, or turn off the cache of latents.",
        ("color_aug", False),
        ("random_crop", False),
        ("cache_latents", False),
    ),
    row(
        "resume_is_done",
        r"max_train_steps should be greater than initial step",
        "The run that was to go on had done all its steps already.",
        "Raise the number of epochs or steps, or start a new run.",
    ),
    row(
        "bucket_sizes",
        r"bucket_reso_steps is \d+\. it must be divisible by|(min|max)_bucket_reso must be equal or",
        "The sizes of the buckets do not fit.",
        "Set bucket_reso_steps to 64. The smallest size must not be above the resolution, nor the largest "
        "below it.",
        ("bucket_reso_steps", 64),
    ),
    row(
        "dataset_config",
        r"extra keys not allowed @|expected \w+ for dictionary value @|required key not provided @"
        r"|Invalid user config",
        "The dataset file has a wrong entry; its place stands in the brackets behind @.",
        "Correct that entry. If this app wrote the file, please report it.",
    ),
    row(
        "resolution_text",
        r"'int' object has no attribute 'split'",
        "The resolution was written as a number, and the engine expects text.",
        'Write it as text, such as "1024,1024". If this app wrote the file, please report it.',
    ),
    row(
        "config_syntax",
        r"Toml?DecodeError|TOMLDecodeError|JSONDecodeError|error loading config|yaml\.\w+\.\w+Error",
        "A configuration file is not written correctly.",
        "Open the file that the log names, at the line that it names, and correct it.",
    ),
    row(
        "argument",
        r"error: unrecognized arguments: |error: argument .*invalid choice: |invalid choice: .* \(choose from"
        r"|error: argument \S+: ",
        "This version of the engine does not know a setting or its value.",
        "Remove it from the further arguments, or update the engine.",
    ),
    row(
        "adafactor_schedule",
        r"adafactor scheduler must be used",
        "The schedule adafactor works only with the optimizer of that name.",
        "Choose another schedule, or Adafactor as the optimizer.",
        ("lr_scheduler", "cosine"),
        ("optimizer_type", "AdaFactor"),
    ),
    row(
        "schedule_warmup",
        r"does not require .num_warmup_steps",
        "This schedule has no warm-up.",
        "Set the warm-up to 0.",
        ("lr_warmup_steps", 0),
    ),
    row(
        "schedule_value",
        r"is not a valid SchedulerType|One of min_lr or min_lr_rate should be set"
        r"|missing 1 required positional argument: 'step_rules'",
        "This schedule is unknown, or lacks a value that it needs.",
        "Choose another schedule, or give the value that the log names.",
        ("lr_scheduler", "cosine"),
    ),
    row(
        "optimizer_name",
        r"module 'torch\.optim' has no attribute '\w+'",
        "There is no optimizer of this name.",
        "Check its spelling and its capital letters, or write its full path with dots.",
        ("optimizer_type", "AdamW"),
    ),
    row(
        "key_value",
        r"(too many|not enough) values to unpack \(expected 2",
        "An argument of the optimizer, the schedule or the network is not of the form key=value.",
        "Write one entry for each argument, with one equals sign each.",
    ),
    row(
        "caption_text",
        r"caption file is empty|illegal char in file \(not UTF-8\)|UnicodeDecodeError",
        "A caption file is empty, or is not UTF-8 text.",
        "Fill the file that the log names or delete it, and save it as UTF-8.",
    ),
    row(
        "lora_shapes",
        r"weights shape mismatch merging",
        "These LoRAs have different ranks or belong to different families, so they cannot be added.",
        "Merge LoRAs of one family, with this app's own merge, which takes different ranks.",
    ),
    row(
        "lora_other_shape",
        r"loading state_dict for LoRANetwork|loading state_dict for Lycoris|size mismatch for lora_",
        "The LoRA or the saved state to go on with has another shape than the settings.",
        "Use the rank and the kind of network that it was made with, or turn on dim_from_weights.",
        ("dim_from_weights", True),
    ),
    row(
        "wrong_family",
        r"size mismatch for |Error\(s\) in loading state_dict for \w+"
        r"|KeyError: '(model\.diffusion_model|time_embed)",
        "The base model belongs to another family than the one that was chosen.",
        "Choose the family of the base model, or a base model of this family.",
    ),
    row(
        "folder_skipped",
        r"ignore directory without repeats|ignore subset with image_dir=.*no images found|not directory: ",
        "A folder of pictures was left out: its name, its path or the type of its pictures does not fit.",
        "Correct the path. Use png, jpg, webp or bmp pictures.",
        anywhere=True,
    ),
)
