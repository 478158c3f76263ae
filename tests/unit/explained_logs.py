"""Logs in the form in which these programs really leave them: one for each known error.

Each entry: id of the row, exit code, log. Not covered: logs that no row fits (test_jobs_explain.py).
"""

from typing import Final

BAR: Final = "steps:  12%|#2        | 198/1600 [03:11<22:36,  1.03it/s, avr_loss=0.0931]"
TRAIN: Final = """\
  File "/opt/sd-scripts/train_network.py", line 1832, in <module>
    trainer.train(args)
  File "/opt/sd-scripts/train_network.py", line 1511, in train
    loss = self.process_batch(batch, text_encoders, unet, network, vae, noise_scheduler)"""
DATA: Final = """\
  File "/opt/sd-scripts/train_network.py", line 452, in train
    train_dataset_group, val_dataset_group = config_util.generate_dataset_group_by_blueprint(blueprint)
  File "/opt/sd-scripts/library/config_util.py", line 521, in generate_dataset_group_by_blueprint
    dataset = dataset_klass(subsets=subsets, **asdict(dataset_blueprint.params))"""
HEAD: Final = "Traceback (most recent call last):"
LAUNCH: Final = """\
Traceback (most recent call last):
  File "/opt/venv/bin/accelerate", line 8, in <module>
    sys.exit(main())
  File "/opt/venv/lib/python3.11/site-packages/accelerate/commands/launch.py", line 1198, in launch_command
    simple_launcher(args)
  File "/opt/venv/lib/python3.11/site-packages/accelerate/commands/launch.py", line 785, in simple_launcher
    raise subprocess.CalledProcessError(returncode=process.returncode, cmd=cmd)
subprocess.CalledProcessError: Command '['/opt/venv/bin/python', 'train_network.py', '--config_file', \
'config.toml']' returned non-zero exit status {}."""
DURING: Final = "\nDuring handling of the above exception, another exception occurred:\n"
BECAUSE: Final = "\nThe above exception was the direct cause of the following exception:\n"


def trace(message: str, frames: str = TRAIN) -> str:
    return f"{HEAD}\n{frames}\n{message}"


def launched(message: str, frames: str = TRAIN, status: str = "1") -> str:
    """As `accelerate launch` leaves it: behind a bar, and with the launcher's own traceback after it."""
    return f"running training\n{BAR}{trace(message, frames)}\n{BAR}\n{LAUNCH.format(status)}"


def hub(message: str, cause: str, frames: str = TRAIN) -> str:
    """As Hugging Face's libraries chain them."""
    return f"{trace(cause, frames)}\n{BECAUSE}\n{trace(message, frames)}"


OOM: Final = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 50.00 MiB. GPU 0 has a total capacity "
    "of 7.78 GiB "
    "of which 21.69 MiB is free. Including non-PyTorch memory, this process has 7.74 GiB memory in use."
)
HUB: Final = "https://huggingface.co/x/y/resolve/main/model.safetensors"
ASSERT: Final = "AssertionError: "

MEMORY: Final = (
    ("cuda_oom", 1, launched(OOM)),
    (
        "cuda_oom_sampling",
        1,
        launched(
            OOM,
            f'{TRAIN}\n  File "/opt/sd-scripts/library/train_util.py", line 6012, in sample_images_common',
        ),
    ),
    (
        "shared_memory",
        1,
        trace(
            "RuntimeError: DataLoader worker (pid 131) is killed by signal: Bus error. It is possible that "
            "dataloader's "
            "workers are out of shared memory. Please try to raise your shared memory limit."
        ),
    ),
    (
        "paging_file",
        1,
        trace(
            "OSError: [WinError 1455] The paging file is too small for this operation to complete. Error "
            "loading "
            '"C:\\venv\\Lib\\site-packages\\torch\\lib\\cufft64_11.dll" or one of its dependencies.'
        ),
    ),
    ("ram", 1, trace("RuntimeError: DataLoader worker (pid(s) 512, 513) exited unexpectedly")),
    (
        "ram",
        1,
        trace(
            "numpy.core._exceptions._ArrayMemoryError: Unable to allocate 24.0 MiB for an array with shape "
            "(3,)"
        ),
    ),
    ("too_many_processes", 1, trace("RuntimeError: can't start new thread")),
    ("nan_latents", 1, launched("RuntimeError: NaN detected in latents: /data/10_cat/ü 1.png")),
    ("nan_text", 1, trace("RuntimeError: NaN detected in text encoder outputs: /data/10_cat/1.png")),
    (
        "nan_loss",
        1,
        "steps:   1%|1         | 8/800 [00:09<15:01,  1.14s/it, avr_loss=nan]\n"
        + trace("ValueError: cannot convert float NaN to integer"),
    ),
    ("nan_loss", 0, "NaN found in latents, replacing with zeros\nmodel saved."),
    (
        "gpu_unsupported",
        1,
        launched(
            "RuntimeError: CUDA error: no kernel image is available for execution on the device\nCUDA "
            "kernel errors might "
            "be asynchronously reported at some other API call, so the stacktrace below might be incorrect.\n"
            "For debugging consider passing CUDA_LAUNCH_BLOCKING=1\n"
            "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions."
        ),
    ),
    (
        "driver_mismatch",
        1,
        trace(
            "RuntimeError: The NVIDIA driver on your system is too old (found version 11040). Please "
            "update your GPU "
            "driver by downloading and installing a new version"
        ),
    ),
    (
        "driver_mismatch",
        1,
        trace(
            "RuntimeError: CUDA error: system has unsupported display driver / cuda driver combination\n"
            "CUDA kernel errors might be asynchronously reported at some other API call."
        ),
    ),
    ("torch_without_cuda", 1, trace("AssertionError: Torch not compiled with CUDA enabled")),
    ("no_gpu", 1, launched("ValueError: fp16 mixed precision requires a GPU (not 'cpu').")),
    (
        "no_gpu",
        1,
        trace("RuntimeError: CUDA error: invalid device ordinal\nCUDA kernel errors might be asynchronous"),
    ),
    (
        "no_gpu",
        1,
        trace("RuntimeError: expected m1 and m2 to have the same dtype, but got: c10::Half != float"),
    ),
    ("gpu_busy", 1, trace("RuntimeError: CUDA error: all CUDA-capable devices are busy or unavailable")),
    ("gpu_timeout", 1, trace("RuntimeError: CUDA error: the launch timed out and was terminated")),
    ("gpu_lost", 1, trace("RuntimeError: CUDA error: unspecified launch failure")),
    (
        "nccl",
        1,
        "[rank1]: "
        + "\n[rank1]: ".join(
            trace(
                "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2251, "
                "unhandled cuda error, NCCL version 2.21.5"
            ).splitlines()
        ),
    ),
    ("cudnn", 1, trace("RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED")),
    (
        "compiling",
        1,
        trace(
            "torch._inductor.exc.InductorError: RuntimeError: Failed to find C compiler. Please specify "
            "via CC variable"
        ),
    ),
    ("cuda_error", 1, trace("RuntimeError: CUDA error: an illegal memory access was encountered")),
    (
        "cuda_error",
        -6,
        (
            f"{BAR}\nterminate called after throwing an instance of 'c10::Error'\n"
            "  what():  CUDA error: device-side assert triggered"
        ),
    ),
)

TRAINING: Final = (
    (
        "no_images",
        0,
        """\
[11/23/26 10:00:01] INFO     prepare images.                      train_util.py:2012
                    ERROR    No data found. Please verify      train_network.py:481
                             arguments (train_data_dir must be
                             the parent of folders with images)""",
    ),
    (
        "image_too_large",
        1,
        launched(f"{ASSERT}image too large, but cropping and bucketing are disabled / 画像: /d/1.png", DATA),
    ),
    (
        "image_broken",
        1,
        trace("PIL.UnidentifiedImageError: cannot identify image file '/data/10_cat/1.png'", DATA),
    ),
    (
        "captions_cached",
        1,
        launched(f"{ASSERT}when caching Text Encoder output, either caption_dropout_rate cannot be used"),
    ),
    (
        "text_encoder_cached",
        1,
        launched(f"{ASSERT}network for Text Encoder cannot be trained with caching Text Encoder outputs"),
    ),
    (
        "latents_cached",
        1,
        launched(f"{ASSERT}when caching latents, either color_aug or random_crop cannot be used / latent"),
    ),
    (
        "resume_is_done",
        1,
        launched(f"{ASSERT}max_train_steps should be greater than initial step / 初期ステップ: 800 vs 800"),
    ),
    (
        "bucket_sizes",
        1,
        launched(f"{ASSERT}bucket_reso_steps is 48. it must be divisible by 32.\n48です。", DATA),
    ),
    (
        "bucket_sizes",
        1,
        launched(f"{ASSERT}min_bucket_reso must be equal or less than resolution / 最小", DATA),
    ),
    (
        "dataset_config",
        1,
        "ERROR    Invalid user config / ユーザ設定の形式が正しくないようです\n"
        + launched(
            "voluptuous.error.MultipleInvalid: extra keys not allowed @ data['datasets'][0]['nonsense']", DATA
        ),
    ),
    ("resolution_text", 1, launched("AttributeError: 'int' object has no attribute 'split'")),
    ("config_syntax", 1, trace("toml.decoder.TomlDecodeError: Unbalanced quotes (line 4 column 12 char 77)")),
    (
        "argument",
        2,
        (
            "usage: train_network.py [-h] [--console_log_level {DEBUG,INFO}]\n"
            "train_network.py: error: unrecognized arguments: --nonsense 1"
        ),
    ),
    (
        "adafactor_schedule",
        1,
        launched(f"{ASSERT}adafactor scheduler must be used with Adafactor optimizer / ada"),
    ),
    (
        "schedule_warmup",
        1,
        launched("ValueError: constant does not require `num_warmup_steps`. Set None or 0."),
    ),
    (
        "schedule_value",
        1,
        launched("ValueError: rex is not a valid SchedulerType, please select one of ['linear']"),
    ),
    ("optimizer_name", 1, launched("AttributeError: module 'torch.optim' has no attribute 'adamw'")),
    ("key_value", 1, launched("ValueError: too many values to unpack (expected 2)")),
    (
        "caption_text",
        1,
        launched(f"{ASSERT}caption file is empty / キャプションファイルが空です: /d/1.txt", DATA),
    ),
    (
        "caption_text",
        1,
        "ERROR    illegal char in file (not UTF-8) / ファイルにUTF-8以外の文字があります: /d/1.txt\n"
        + launched(
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xe9 in position 3: invalid data", DATA
        ),
    ),
    ("lora_shapes", 1, trace(f"{ASSERT}weights shape mismatch merging v1 and v2, different dims? / 重み")),
    (
        "lora_other_shape",
        1,
        launched(
            "RuntimeError: Error(s) in loading state_dict for LoRANetwork:\n\tsize mismatch for "
            "lora_unet_x: copying"
        ),
    ),
    (
        "wrong_family",
        1,
        launched(
            "RuntimeError: Error(s) in loading state_dict for UNet2DConditionModel:\n\tsize mismatch for "
            "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight: copying a param with shape "
            "torch.Size([320, 1024]) from checkpoint, the shape in current model is torch.Size([320, 768])."
        ),
    ),
    (
        "folder_skipped",
        1,
        "WARNING  ignore directory without repeats / 繰り返し回数のないディレクトリを無視します: cats\n"
        + trace("ZeroDivisionError: division by zero", DATA),
    ),
)

FILES: Final = (
    (
        "bitsandbytes",
        1,
        trace("ModuleNotFoundError: No module named 'bitsandbytes'")
        + DURING
        + launched("ImportError: No bitsandbytes / bitsandbytesがインストールされていないようです").partition(
            "]"
        )[2],
    ),
    (
        "xformers",
        1,
        launched(
            "NotImplementedError: No operator found for `memory_efficient_attention_forward` with inputs:"
        ),
    ),
    (
        "optimizer_package",
        1,
        launched("ImportError: No Prodigy / Prodigy がインストールされていないようです"),
    ),
    ("torchvision", 1, trace("RuntimeError: operator torchvision::nms does not exist")),
    ("engine_path", 1, trace("ModuleNotFoundError: No module named 'library.train_util'")),
    (
        "dll_missing",
        1,
        trace("ImportError: DLL load failed while importing _C: The specified module could not be found."),
    ),
    ("dll_missing", 3221225781, "loading"),
    (
        "system_library",
        1,
        trace("ImportError: libGL.so.1: cannot open shared object file: No such file or directory"),
    ),
    ("missing_package", 1, launched("ModuleNotFoundError: No module named 'voluptuous'")),
    (
        "package_version",
        1,
        trace("ImportError: cannot import name 'cached_download' from 'huggingface_hub' (/x/y.py)"),
    ),
    (
        "gated_model",
        1,
        hub(
            "OSError: You are trying to access a gated repo.\nMake sure to have access to it at "
            "https://huggingface.co/x/y.\n"
            f"403 Client Error. \n\nCannot access gated repo for url {HUB}.\nAccess to model x/y is "
            "restricted and you are not in the authorized list. Visit https://huggingface.co/x/y to ask "
            "for access.",
            f"requests.exceptions.HTTPError: 403 Client Error: Forbidden for url: {HUB}",
        ),
    ),
    (
        "model_not_found",
        1,
        hub(
            "huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error. (Request ID: "
            "Root=1-66f)\n\nRepository Not "
            f"Found for url: {HUB}.\nPlease make sure you specified the correct `repo_id` and `repo_type`.",
            f"requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: {HUB}",
        ),
    ),
    (
        "login_needed",
        1,
        trace(f"requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: {HUB}"),
    ),
    ("forbidden", 1, trace("urllib.error.HTTPError: HTTP Error 403: Forbidden")),
    (
        "file_not_there",
        1,
        hub(
            "huggingface_hub.errors.EntryNotFoundError: 404 Client Error. (Request ID: x)\n\nEntry Not "
            "Found for url: x.",
            f"requests.exceptions.HTTPError: 404 Client Error: Not Found for url: {HUB}",
        ),
    ),
    (
        "too_many_requests",
        1,
        trace(f"requests.exceptions.HTTPError: 429 Client Error: Too Many Requests for url: {HUB}"),
    ),
    (
        "site_failed",
        1,
        trace("requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: https://x/y"),
    ),
    (
        "offline_mode",
        1,
        hub(
            "huggingface_hub.errors.LocalEntryNotFoundError: Cannot find the requested files in the disk "
            "cache and outgoing "
            "traffic has been disabled. To enable hf.co look-ups and downloads online, set "
            "'local_files_only' to False.",
            f"huggingface_hub.errors.OfflineModeIsEnabled: Cannot reach {HUB}: offline mode is enabled.",
        ),
    ),
    (
        "proxy",
        1,
        trace(
            "requests.exceptions.ProxyError: HTTPSConnectionPool(host='x', port=443): Max retries exceeded"
        ),
    ),
    (
        "certificate",
        1,
        trace("ssl.SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed"),
    ),
    (
        "name_lookup",
        1,
        hub(
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find "
            "them in the "
            "cached files.\nCheck your internet connection or see how to run the library in offline mode.",
            "socket.gaierror: [Errno -2] Name or service not known",
        ),
    ),
    (
        "network_timeout",
        1,
        trace("requests.exceptions.ReadTimeout: HTTPSConnectionPool(host='x', port=443): Read timed out."),
    ),
    (
        "tokenizer_missing",
        1,
        launched(
            "OSError: Can't load tokenizer for 'openai/clip-vit-large-patch14'. If you were trying to load "
            "it from "
            "'https://huggingface.co/models', make sure you don't have a local directory with the same name."
        ),
    ),
    (
        "no_network",
        1,
        launched(
            "OSError: We couldn't connect to 'https://huggingface.co' to load the files, and couldn't find"
        ),
    ),
    ("disk_full", 1, trace("OSError: [Errno 28] No space left on device: '/x/y.safetensors'")),
    (
        "disk_full",
        1,
        trace("RuntimeError: [enforce fail at inline_container.cc:626] . unexpected pos 704 vs 598"),
    ),
    (
        "model_broken",
        1,
        launched("safetensors_rust.SafetensorError: Error while deserializing header: HeaderTooLarge"),
    ),
    ("model_broken", 1, trace("_pickle.UnpicklingError: invalid load key, 'v'.")),
    ("read_only", 1, trace("OSError: [Errno 30] Read-only file system: '/x/y'")),
    (
        "file_in_use",
        1,
        trace(
            "PermissionError: [WinError 32] The process cannot access the file because it is being used by "
            "another process: 'C:\\\\x\\\\y.safetensors'"
        ),
    ),
    ("path_too_long", 1, trace("OSError: [Errno 36] File name too long: '/x/yyyyy'")),
    ("permission", 1, trace("PermissionError: [Errno 13] Permission denied: '/x/y'")),
    ("too_many_files", 1, trace("OSError: [Errno 24] Too many open files: '/x/y.png'")),
    ("disk_error", 1, trace("OSError: [Errno 5] Input/output error: '/mnt/x/y'")),
    (
        "port_in_use",
        1,
        trace(
            "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network "
            "address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already "
            "in use"
        ),
    ),
    (
        "file_missing",
        1,
        trace("FileNotFoundError: [Errno 2] No such file or directory: '/models/base.safetensors'"),
    ),
)

CODES: Final = (
    ("killed", -9, BAR),
    ("killed", 137, BAR),
    ("killed", 1, f"{BAR}\n{LAUNCH.format(1).rpartition('returned')[0]}died with <Signals.SIGKILL: 9>."),
    ("asked_to_end", 143, BAR),
    ("interrupted", 130, BAR),
    (
        "native_crash",
        -11,
        (
            "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f (most recent call first):\n  "
            "File x"
        ),
    ),
    ("native_crash", 3221225477, BAR),
    ("native_crash", -1073741819, BAR),
    ("native_crash", 1, f"{BAR}\n{LAUNCH.format(3221225477)}"),
    ("aborted", -6, BAR),
    ("aborted", 0xC0000409, BAR),
    ("bus_error", 135, BAR),
    ("illegal_instruction", -4, BAR),
    ("time_limit", 152, BAR),
    ("file_limit", 153, BAR),
    ("dll_wrong", 0xC0000139, ""),
    ("dll_start", 0xC0000142, ""),
    ("console_closed", 0xC000013A, BAR),
    ("oom_windows", 0xC0000017, BAR),
    ("paging_file", 0xC000012D, BAR),
    ("paging_file", 1455, BAR),
    ("disk_error", 0xC0000006, BAR),
    ("logged_off", 0x40010004, BAR),
)

LOGS: Final = (*MEMORY, *TRAINING, *FILES, *CODES)
