"""Which GPU this machine has, and which torch build fits it.

Covered: NVIDIA by driver and compute capability (Linux, Windows, WSL), AMD on Linux through ROCm, Apple
chips, and the CPU. `find_gpus` looks at the machine; `choose` is a pure function of what was found.

Not covered: AMD and Intel GPUs on Windows and Intel GPUs anywhere, for which PyTorch 2.13 has no build that
this app is made for; they train on the CPU. How much memory a GPU has is the app's Setup page's business.

Facts, read on 2026-11-23: PyTorch 2.13 is built for CUDA 12.6, 13.0 and 13.2, ROCm 7.2 and the CPU (the
release's own matrix). The CUDA 12.6 build has kernels for compute capability 5.0 to 9.0, the 13.0 build for
7.5 and up. CUDA 12.x runs on drivers from 525, CUDA 13.x on drivers from 580 (NVIDIA's page on minor version
compatibility). 13.2 is marked experimental and adds no GPU that 13.0 lacks, so it is not chosen.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

TORCH_VERSION: Final = "2.13.0"

CUDA_13_DRIVER: Final = 580
CUDA_12_DRIVER: Final = 525
ROCM_BUILD: Final = "rocm7.2"
ROCM_CHIPS: Final = frozenset(
    f"gfx{number}"
    for number in "900 906 908 90a 942 950 1030 1100 1101 1102 1150 1151 1200 1201".split()  # noqa: SIM905 - readable
)
"""Chips that PyTorch's ROCm build carries kernels for; others stop at their first operation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """One GPU as the system reports it."""

    maker: Literal["nvidia", "amd", "apple"]
    name: str
    driver: str = ""
    """NVIDIA: the driver's version, such as `580.95.05`; empty when no driver answers."""
    capability: tuple[int, int] | None = None
    """NVIDIA: compute capability; None when the driver is too old to tell."""
    chip: str = ""
    """AMD: the chip's gfx name."""
    reachable: bool = True
    """False when this user may not open the device."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TorchChoice:
    """The torch build that fits, and why it is not a GPU build where it is not one."""

    build: str
    """`cpu`, `cu126`, `cu130`, `rocm7.2`, or `default`: the package index's own build."""
    gpu: str = ""
    """Name of the GPU that the choice is about; empty when there is none."""
    reason: str = ""
    """Why a machine with a GPU gets a CPU build; empty otherwise."""
    fix: str = ""
    """What the user can do about the reason."""

    @property
    def wanted(self) -> str:
        """What the machine deserves: the build, or `gpu` where only the CPU build fits as things are."""
        return "gpu" if self.reason else self.build


def find_gpus(system: str, machine: str) -> tuple[Gpu, ...]:
    """Every GPU of this machine that matters to torch. `system` and `machine` as `platform` gives them."""
    if system == "Darwin":
        return (Gpu(maker="apple", name="Apple chip"),) if machine == "arm64" else ()
    found = _ask_nvidia_smi(system)
    if system == "Linux":
        if not found and _has_nvidia_card(Path("/sys/bus/pci/devices")):
            found = (Gpu(maker="nvidia", name="NVIDIA graphics card"),)
        found += read_amd_gpus(Path("/sys/class/kfd/kfd/topology/nodes"), Path("/dev/kfd"))
    return found


def _ask_nvidia_smi(system: str) -> tuple[Gpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None and system == "Linux" and Path("/usr/lib/wsl/lib/nvidia-smi").exists():
        program = "/usr/lib/wsl/lib/nvidia-smi"  # WSL does not always put it on PATH
    if program is None:
        return ()
    # A driver that does not know compute_cap refuses the whole query, so it is asked again without.
    for fields in ("name,driver_version,compute_cap", "name,driver_version"):
        try:
            answer = subprocess.run(
                [program, f"--query-gpu={fields}", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return (Gpu(maker="nvidia", name="NVIDIA graphics card"),)
        if answer.returncode == 0:
            return parse_nvidia_smi(answer.stdout)
    # The program is there and cannot speak to a driver: either there is no card, or its driver is broken.
    no_card = "no devices were found" in (answer.stdout + answer.stderr).lower()
    return () if no_card else (Gpu(maker="nvidia", name="NVIDIA graphics card"),)


def parse_nvidia_smi(text: str) -> tuple[Gpu, ...]:
    """GPUs from `nvidia-smi --query-gpu=name,driver_version[,compute_cap] --format=csv,noheader`."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) < 2 or not re.match(r"\d+\.", parts[1]):
            continue
        capability = re.fullmatch(r"(\d+)\.(\d+)", parts[2]) if len(parts) > 2 else None
        pair = (int(capability[1]), int(capability[2])) if capability else None
        found.append(Gpu(maker="nvidia", name=parts[0], driver=parts[1], capability=pair))
    return tuple(found)


def _has_nvidia_card(devices: Path) -> bool:
    """Is an NVIDIA display device on the PCI bus, driver or not? Linux only."""
    for device in devices.glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text(), (device / "class").read_text()
        except OSError:
            continue
        if vendor.strip() == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def read_amd_gpus(nodes: Path, device: Path) -> tuple[Gpu, ...]:
    """AMD GPUs from the kernel's compute driver (kfd), which is what ROCm itself goes by."""
    found = []
    for properties in sorted(nodes.glob("*/properties")):
        try:
            lines = properties.read_text().splitlines()
        except OSError:
            continue
        values = dict(line.split(maxsplit=1) for line in lines if " " in line.strip())
        version = int(values.get("gfx_target_version", "0"))
        if version == 0 or values.get("vendor_id", "4098").strip() != "4098":
            continue  # a CPU node, or another maker's
        # 90010 is gfx90a: major, minor and stepping, the last two written in hexadecimal.
        chip = f"gfx{version // 10000}{version // 100 % 100:x}{version % 100:x}"
        reachable = not device.exists() or os.access(device, os.R_OK | os.W_OK)
        found.append(Gpu(maker="amd", name=f"AMD GPU ({chip})", chip=chip, reachable=reachable))
    return tuple(found)


def choose(system: str, gpus: Sequence[Gpu], environ: dict[str, str]) -> TorchChoice:
    """The torch build for these GPUs. The strongest kind wins: NVIDIA, then AMD, then Apple, then the CPU."""
    forced = environ.get("LORA_TORCH", "").strip()
    if forced:
        return TorchChoice(build=forced)
    if nvidia := [gpu for gpu in gpus if gpu.maker == "nvidia"]:
        return _choose_cuda(nvidia)
    if amd := [gpu for gpu in gpus if gpu.maker == "amd"]:
        return _choose_rocm(amd, environ)
    if any(gpu.maker == "apple" for gpu in gpus) or system == "Darwin":
        return TorchChoice(build="default", gpu="Apple chip" if gpus else "")
    return TorchChoice(build="cpu")


def _cpu(gpu: Gpu, *, reason: str, fix: str) -> TorchChoice:
    return TorchChoice(build="cpu", gpu=gpu.name, reason=reason, fix=fix)


def _choose_cuda(gpus: Sequence[Gpu]) -> TorchChoice:
    # The newest card decides: an old second card must not cost the new one its build.
    best = max(gpus, key=lambda gpu: gpu.capability or (0, 0))
    again = "Then start the app again: it installs the right build by itself."
    if not best.driver:
        return _cpu(
            best,
            reason="An NVIDIA card is in this computer, but its driver does not answer.",
            fix=f"Install NVIDIA's driver {CUDA_13_DRIVER} or newer and restart the computer. {again}",
        )
    driver = int(best.driver.split(".")[0])
    if driver < CUDA_12_DRIVER:
        return _cpu(
            best,
            reason=f"The NVIDIA driver {best.driver} is older than PyTorch {TORCH_VERSION} can use.",
            fix=f"Install NVIDIA's driver {CUDA_13_DRIVER}, or the newest one that your card has. {again}",
        )
    capability = best.capability or (7, 5)
    if capability < (5, 0):
        return _cpu(
            best,
            reason=f"The {best.name} is older than every GPU that PyTorch {TORCH_VERSION} supports.",
            fix="Train on the CPU, or use a computer with a newer GPU.",
        )
    if capability >= (10, 0) and driver < CUDA_13_DRIVER:
        return _cpu(
            best,
            reason=f"The {best.name} needs driver {CUDA_13_DRIVER} or newer; it is {best.driver}.",
            fix=f"Install NVIDIA's driver {CUDA_13_DRIVER} or newer. {again}",
        )
    oldest = min(gpu.capability or capability for gpu in gpus)
    # CUDA 12.6 is the only build for cards before Turing, and the only one for drivers before 580. Where an
    # old card sits beside a newer one, it serves both as long as the newer one is not a Blackwell.
    old_card = oldest < (7, 5) and capability < (10, 0)
    build = "cu126" if old_card or driver < CUDA_13_DRIVER else "cu130"
    return TorchChoice(build=build, gpu=best.name)


def _choose_rocm(gpus: Sequence[Gpu], environ: dict[str, str]) -> TorchChoice:
    overridden = "HSA_OVERRIDE_GFX_VERSION" in environ  # the user has said which chip to pass for
    fitting = [gpu for gpu in gpus if overridden or gpu.chip in ROCM_CHIPS]
    if not fitting:
        return _cpu(
            gpus[0],
            reason=f"PyTorch's ROCm build has no part for the chip {gpus[0].chip}.",
            fix="Train on the CPU. If it can pass for another chip, set HSA_OVERRIDE_GFX_VERSION first.",
        )
    best = fitting[0]
    if not best.reachable:
        return _cpu(
            best,
            reason="This user may not open the GPU's device, /dev/kfd.",
            fix="Run: sudo usermod -aG render,video $USER - then sign out and in, and start the app again.",
        )
    return TorchChoice(build=ROCM_BUILD, gpu=best.name)
