"""Errors of the graphics card, its driver and of memory.

Covered: CUDA, ROCm and Metal out of memory, main and shared memory, drivers, a loss that is not a number.
Not covered: ends without an error (table_codes.py).
"""

from typing import Final

from lora_core.jobs.explain._form import Row, row

_CHEAPER: Final = (
    ("gradient_checkpointing", True),
    ("batch_size", 1),
    ("cache_latents", True),
    ("network_train_unet_only", True),
    ("cache_text_encoder_outputs", True),
    ("optimizer_type", "AdamW8bit"),
)
_OUT: Final = (
    r"(CUDA|HIP|XPU) out of memory|CUDA error: out of memory|OutOfMemoryError"
    r"|CU(BLAS|DNN)_STATUS_ALLOC_FAILED"
    r"|MPS backend out of memory"
)

ROWS: Final[tuple[Row, ...]] = (
    row(
        "cuda_oom_sampling",
        _OUT,
        "The graphics card ran out of memory while it drew a sample picture.",
        "Ask for smaller sample pictures, or for none. Close other programs that use the card.",
        frames=r"in (sample_images\w*|_?draw_samples?|draw|_sample_pictures|sample_image_inference)\b",
    ),
    row(
        "cuda_oom",
        _OUT,
        "The graphics card ran out of memory.",
        "Use batch size 1 and gradient checkpointing, cache the latents and the text encoder's outputs, "
        "train the "
        "image model only, or lower the resolution. AdamW8bit or Adafactor take less than AdamW. "
        "Close other programs that use the card.",
        *_CHEAPER,
    ),
    row(
        "shared_memory",
        r"out of shared memory|insufficient shared memory|</torch_\w+>|/dev/shm"
        r"|unable to open shared memory object"
        r"|received 0 items of ancdata",
        "The shared memory ran out, which the loader workers use.",
        "Use no loader workers. In a container, allow more shared memory (docker run --shm-size=8g).",
        ("max_data_loader_n_workers", 0),
    ),
    row(
        "paging_file",
        r"paging file is too small|WinError 1455",
        "The paging file is too small for what it needed.",
        "Let Windows manage the size of the paging file, use no loader workers, and close other programs.",
        ("max_data_loader_n_workers", 0),
    ),
    row(
        "ram",
        r"DataLoader worker .*(killed|exited unexpectedly)|[Bb]us error|Cannot allocate memory|^MemoryError"
        r"|_ArrayMemoryError|DefaultCPUAllocator|std::bad_alloc|MemoryError: Unable to allocate",
        "The computer's main memory ran out.",
        "Close other programs, use fewer loader workers or a smaller batch. "
        "In a container, allow more shared memory.",
        ("max_data_loader_n_workers", 0),
        ("batch_size", 1),
    ),
    row(
        "too_many_processes",
        r"can't start new thread|Thread creation failed|pthread_create failed|BlockingIOError: \[Errno 11\]",
        "The system allows no more processes or threads.",
        "Close other programs, use no loader workers, or raise the limit of processes.",
        ("max_data_loader_n_workers", 0),
    ),
    row(
        "nan_latents",
        r"NaN detected in latents: ",
        "The VAE could not encode a picture: it turned into something that is not a number.",
        "Turn on no_half_vae, use bf16, or choose a VAE that works in fp16. Open the picture that the log "
        "names, and "
        "replace it if it is damaged. Delete old .npz files beside it.",
        ("no_half_vae", True),
        ("mixed_precision", "bf16"),
    ),
    row(
        "nan_text",
        r"NaN detected in text encoder outputs: ",
        "The text encoder turned a caption into something that is not a number.",
        "Use bf16 instead of fp16. Check that the base model is whole.",
        ("mixed_precision", "bf16"),
    ),
    row(
        "nan_loss",
        r"avr_loss=nan|loss.?[=:].?nan\b|NaN found in latents|[Ll]oss is (nan|NaN)",
        "The training blew up: its loss is not a number any more. The LoRA cannot be used from there on.",
        "Lower the learning rate or the alpha, and go on from a save before it. Use bf16 instead of fp16; "
        "for SDXL in "
        "fp16 turn on no_half_vae. Look for damaged pictures.",
        ("mixed_precision", "bf16"),
        ("no_half_vae", True),
        anywhere=True,
    ),
    row(
        "gpu_unsupported",
        r"no kernel image is available for execution|sm_\d+ is not compatible",
        "This build of torch is too old for the graphics card.",
        "Run the set-up again, so that it chooses a newer torch. RTX 50 cards need 2.8 with CUDA 12.8.",
    ),
    row(
        "driver_mismatch",
        r"driver version is insufficient|NVIDIA driver on your system is too old"
        r"|[Dd]river/library version mismatch"
        r"|forward compatibility was attempted|SYSTEM_DRIVER_MISMATCH|unsupported display driver",
        "The driver of the graphics card does not fit this build of torch.",
        "Restart the computer, since a driver may have been updated. If it comes back, update the driver, "
        "or run the set-up again.",
    ),
    row(
        "torch_without_cuda",
        r"Torch not compiled with CUDA enabled",
        "This build of torch cannot use an NVIDIA card.",
        "Run the set-up again, so that it installs the CUDA build of torch.",
        ("mixed_precision", "no"),
    ),
    row(
        "no_gpu",
        r"Found no NVIDIA driver|No CUDA GPUs are available|no CUDA-capable device"
        r"|[Ii]nvalid device (id|ordinal)"
        r"|CUDA unknown error|fp16 mixed precision requires a|bf16 mixed precision requires"
        r"|expected m1 and m2 to have the same dtype, but got: c10::Half|not implemented for 'Half'",
        "It ran without a graphics card that torch can use.",
        'Install the CUDA build of torch, and check the choice of the card (a number, not "all"). '
        "On a processor alone, set mixed precision to no.",
        ("mixed_precision", "no"),
    ),
    row(
        "gpu_busy",
        r"CUDA-capable device\S* (is/are|are) busy",
        "Another program has the graphics card for itself.",
        "Close the other program, or set the card's compute mode to default.",
    ),
    row(
        "gpu_timeout",
        r"the launch timed out and was terminated",
        "Windows took the graphics card away because one calculation took too long.",
        "Lower the batch size or the resolution, or raise TdrDelay in Windows.",
        ("batch_size", 1),
    ),
    row(
        "gpu_lost",
        r"GPU is lost|fallen off the bus|unspecified launch failure|uncorrectable ECC|hardware stack error",
        "The graphics card stopped working in the middle of the run.",
        "Restart the computer. If it comes back, check the card's heat, its power cable and its "
        "overclocking.",
    ),
    row(
        "nccl",
        r"NCCL error|nccl(System|Internal|UnhandledCuda|Remote)Error"
        r"|Watchdog caught collective operation timeout",
        "The processes of several graphics cards lost each other.",
        "Go on with it. If it comes back, use one card, or set NCCL_P2P_DISABLE=1.",
    ),
    row(
        "cudnn",
        r"cuDNN error|CUDNN_STATUS_|libcudnn|cudnnException",
        "The cuDNN library of the graphics card failed or was not found.",
        "Run the set-up again, and take other cuDNN folders out of PATH and LD_LIBRARY_PATH.",
    ),
    row(
        "compiling",
        r"torch\._(dynamo|inductor)|TritonMissing|[Cc]annot find a working triton|BackendCompilerFailed"
        r"|InductorError"
        r"|Failed to find C compiler|CppCompileError|triton\.\w+\.errors",
        "torch could not compile the model for speed, which needs triton and a C compiler.",
        "Turn off torch_compile; the run is slower and otherwise the same.",
        ("torch_compile", False),
    ),
    row(
        "cuda_error",
        r"(CUDA|HIP) error|CUBLAS_STATUS_|cudaError|CUDA_ERROR_",
        "The graphics card or its driver reported an error.",
        "Restart the computer. If it comes back, update the driver.",
    ),
)
