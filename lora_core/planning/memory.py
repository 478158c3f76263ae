"""How much memory a run needs: counted from the layers of its base model and its settings.

Covered: weights by number type, LoRA, gradients, optimizer, what the forward pass keeps for the backward
pass with and without gradient checkpointing, VAE and text encoders in each phase, caches, the program
itself. Not covered: what is free, and what runs have shown (see `estimates.py`), several GPUs.

The factors are fitted to counts of every tensor of SD 1.x and SDXL at 512 to 1024 px and batch 1 to 4,
with the method that docs/benchmarks.md describes; docs/planning.md has the comparison.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from lora_core.planning.layers import Layer, Layers, layers_of
from lora_core.planning.lora_size import LoraSize, lora_size
from lora_core.planning.sample_sizes import sample_pixels
from lora_core.planning.steps import Plan
from lora_core.settings import RunConfig
from lora_core.settings.concern_network import LYCORIS

MODEL: Final = 1
"""Raise it when the count changes: what was measured against an older count is then not held against this."""
CONTEXT: Final = 600 * 2**20
"""What a program takes of a GPU before its first tensor, with room for the kernels' own needs."""

_LIBRARIES: Final = 600 * 2**20
"""Python, torch, diffusers and transformers, on a CPU."""
_LIBRARIES_GPU: Final = 2500 * 2**20
"""The same with the libraries of a GPU."""
_VAE_PIXELS: Final = 2**20
"""Pixels that the built-in engine gives the VAE at once."""
_WORD_ROW: Final = 77

# Bytes for each byte of the layers' outputs in half precision.
_KEPT_TRANSFORMER: Final = 2.17
_KEPT_RESIDUAL: Final = 5.87
_CHECKPOINT_PROJ: Final = 3.82
_CHECKPOINT_RESIDUAL: Final = 0.28
_WORKING_CHECKPOINT: Final = 3.25
_WORKING: Final = 1.25
_FULL_PRECISION: Final = 1.5
"""Norms work in float32 in both cases, so full precision does not double what is kept."""
_ENCODE: Final = 20.1
"""Bytes for each pixel and channel of the VAE's widest layer, in float32."""
_DECODE: Final = 24.1

_OPTIMIZER_BYTES: Final[Mapping[str, float]] = {
    "adamw": 8, "adam": 8, "nadam": 8, "radam": 8, "adamax": 8, "adamw8bit": 2.1, "pagedadamw8bit": 2.1,
    "pagedadamw": 8, "pagedadamw32bit": 8, "adafactor": 0.5, "prodigy": 16, "lion": 4, "lion8bit": 1.1,
    "pagedlion8bit": 1.1, "came": 4.5, "adamwschedulefree": 8, "radamschedulefree": 8, "sgdschedulefree": 4,
    "sgdnesterov": 4, "sgdnesterov8bit": 1.1, "sgd": 4, "rmsprop": 4, "adagrad": 4, "asgd": 4, "adadelta": 8,
    "rprop": 8, "prodigyplusschedulefree": 12,
}  # fmt: skip
"""Bytes of state for each weight that is trained. Others count as AdamW."""


@dataclass(frozen=True, slots=True)
class Phase:
    """What a phase of a run holds, in bytes."""

    name: str
    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run needs at its peak, in bytes; counted, not measured."""

    device: str
    gpu_phase: Phase | None
    """The phase that needs the most of the GPU; None on a CPU."""
    ram_phase: Phase

    @property
    def gpu(self) -> int:
        """Without what the program takes before its first tensor (`CONTEXT`)."""
        return self.gpu_phase.total if self.gpu_phase else 0

    @property
    def ram(self) -> int:
        return self.ram_phase.total


@dataclass(frozen=True, slots=True)
class _Run:
    """A run and what follows from it."""

    run: RunConfig
    base: Layers
    lora: LoraSize
    batch_pixels: int
    """Pixels of all pictures of the largest batch."""
    vae_pixels: int
    batch: int
    pictures: int
    captions: int
    picture_pixels: int
    """Of all pictures together."""
    extra: dict[str, int] = field(default_factory=dict)

    @property
    def half(self) -> int:
        """Bytes of a number that the UNet computes in."""
        return 4 if self.run.precision.mixed_precision == "no" else 2

    @property
    def vae_bytes(self) -> int:
        return 4 if self.run.model.no_half_vae else self.half


def optimizer_bytes(name: str) -> float:
    """What an optimizer remembers for each weight that it moves."""
    return _OPTIMIZER_BYTES.get(name.rpartition(".")[2].lower(), 8)


def memory(run: RunConfig, *, device: str, plan: Plan | None = None, captions: int = 0) -> Memory | None:
    """What `run` needs on a device (`cpu`, `cuda`, `mps`); None when its base model cannot be read."""
    base = layers_of(run.model.pretrained_model_name_or_path)
    if base is None:
        return None
    known = _known(run, base, plan, captions)
    phases = _phases(known)
    most = max(phases, key=lambda phase: phase.total)
    if device == "cpu":
        return Memory(device, None, _on_cpu(known, phases))
    return Memory(device, most, _beside_gpu(known))


def _known(run: RunConfig, base: Layers, plan: Plan | None, captions: int) -> _Run:
    datasets = run.dataset.datasets
    sizes = [(n, dataset.resolution[0] * dataset.resolution[1]) for n, dataset in enumerate(datasets)]
    pictures = whole = 0
    if plan is not None and plan.buckets:
        sizes = [(count.dataset, count.size.pixels) for count in plan.buckets]
        pictures = sum(count.images for count in plan.buckets)
        whole = sum(count.images * count.size.pixels for count in plan.buckets)
    most = max(sizes, key=lambda each: each[1] * datasets[each[0]].batch_size)
    one, batch = most[1], datasets[most[0]].batch_size
    together = run.precision.vae_batch_size or max(1, _VAE_PIXELS // max(1, one))
    if not (run.precision.cache_latents or run.precision.cache_latents_to_disk):
        together = batch
    elif pictures:
        together = min(together, pictures)
    return _Run(
        run=run,
        base=base,
        lora=lora_size(base, run.network),
        batch_pixels=one * batch,
        vae_pixels=one * together,
        batch=batch,
        pictures=pictures,
        captions=captions or pictures,
        picture_pixels=whole,
    )


def _phases(known: _Run) -> list[Phase]:
    """What each phase holds on the device that trains."""
    run, base = known.run, known.base
    vae, text = base.vae_weights * known.vae_bytes, base.text_weights * 4
    encode = _encoding(known, known.vae_pixels)
    phases = [Phase("Preparing the pictures", {"VAE": vae, "Text encoders": text, "At work": encode})]
    fixed = _fixed(known)
    if not run.text.cache_text_encoder_outputs:
        fixed["Text encoders"] = text
    kept = run.precision.cache_latents or run.precision.cache_latents_to_disk
    if not kept:
        fixed["VAE"] = vae
    phases.append(Phase("Training", {**fixed, **_step(known, encode=0 if kept else encode)}))
    if drawn := sample_pixels(run):
        drawing = {"VAE": vae, "At work": int(_DECODE * base.vae_width * max(drawn) * known.vae_bytes / 4)}
        phases.append(Phase("Drawing samples", {**fixed, **drawing}))
    return phases


def _fixed(known: _Run) -> dict[str, int]:
    """What is there during every step."""
    precision, weights = known.run.precision, known.lora.weights
    unet = known.base.unet_weights * known.half
    if precision.fp8_base:
        unet = known.base.unet_weights  # what stays in 16 bits is less than a hundredth
    moments = int(optimizer_bytes(known.run.optimizer.optimizer_type) * weights)
    return {"Image part": unet, "LoRA": 4 * weights, "Optimizer": moments}


def _step(known: _Run, *, encode: int) -> dict[str, int]:
    """What comes and goes in a step: activations, then gradients and the optimizer at work."""
    kept, working = _activations(known)
    gradients = 4 * known.lora.weights
    accumulated = gradients if known.run.batch.gradient_accumulation_steps > 1 else 0
    forward = kept + working + accumulated
    update = 3 * gradients  # torch updates many weights at once and needs room for them
    most = max(forward, update, encode)
    if most == forward:
        return {"Kept for learning": kept, "At work": working + accumulated}
    return {"At work": most}


def _activations(known: _Run) -> tuple[int, int]:
    """Bytes that the forward pass keeps for the backward pass, and what comes on top at the peak."""
    run, base = known.run, known.base
    places = known.batch_pixels / base.shrinks**2
    rows = (run.text.max_token_length or 75) // 75
    words = _WORD_ROW * rows * known.batch
    transformer = residual = proj = 0.0
    units: dict[str, float] = {}
    for layer in base.layers:
        if layer.part != "unet":
            continue
        size = 2 * layer.outputs * _places(layer, places, words, known.batch)
        if layer.role in {"attention", "cross", "mlp", "proj"}:
            transformer += size
        else:
            residual += size
        proj += size if layer.role == "proj" else 0
        units[layer.unit] = units.get(layer.unit, 0.0) + size
    largest = max(units.values(), default=0.0)
    if run.precision.gradient_checkpointing:
        hidden = sum(_hidden(layer, places) for layer in base.layers)
        kept = hidden + _CHECKPOINT_PROJ * proj + _CHECKPOINT_RESIDUAL * residual
        working = _WORKING_CHECKPOINT * largest
    else:
        kept = _KEPT_TRANSFORMER * transformer + _KEPT_RESIDUAL * residual
        kept += 2 * known.lora.weights if known.half == 2 else 0  # the LoRA's own weights in 16 bits
        working = _WORKING * largest
    if known.half == 4:
        kept, working = kept * _FULL_PRECISION, working * _FULL_PRECISION
    kept += _text_activations(known, words)
    return int(kept), int(working) + _whole_weights(known)


def _places(layer: Layer, places: float, words: int, batch: int) -> float:
    if layer.role == "cross":
        return words
    if layer.role == "time" or (layer.role == "outer" and len(layer.shape) == 2):
        return batch
    return float(places / 4**layer.level)


def _hidden(layer: Layer, places: float) -> float:
    """The input of a transformer block, told by the one layer of it that comes first."""
    first = layer.role == "attention" and layer.shape[0] == layer.shape[1]
    # Six of a block's eight attention layers have that shape: q, k, v and out, then q and out.
    return 2 * layer.shape[1] * places / 4**layer.level / 6 if first and layer.part == "unet" else 0.0


def _text_activations(known: _Run, words: int) -> float:
    if known.run.network.network_train_unet_only:
        return 0.0
    outputs = sum(layer.outputs for layer in known.base.layers if layer.part != "unet")
    return _KEPT_TRANSFORMER * known.half * outputs * words


def _whole_weights(known: _Run) -> int:
    """DoRA puts the whole weight of one layer at a time together, in float32 and eight times at most."""
    network = known.run.network
    if network.network_module != LYCORIS or not network.dora_wd:
        return 0
    learning = (
        each for each in known.base.layers if each.part == "unet" or not network.network_train_unet_only
    )
    return 32 * max((layer.inputs * layer.outputs for layer in learning), default=0)


def _encoding(known: _Run, pixels: int) -> int:
    return int(_ENCODE * known.base.vae_width * pixels * known.vae_bytes / 4)


def _caches(known: _Run) -> dict[str, int]:
    run, found = known.run, dict[str, int]()
    if run.precision.cache_latents and not run.precision.cache_latents_to_disk:
        found["Prepared pictures"] = 16 * known.picture_pixels // known.base.shrinks**2
    if run.text.cache_text_encoder_outputs:
        rows = (run.text.max_token_length or 75) // 75
        found["Captions that were read"] = known.captions * rows * _WORD_ROW * known.base.text_width * 4
    return found


def _on_cpu(known: _Run, phases: list[Phase]) -> Phase:
    """All weights stay in memory; what comes and goes is that of the phase with the most of it."""
    base, fixed = known.base, _fixed(known)
    held = {
        "Programs": _LIBRARIES,
        **fixed,
        "Text encoders": base.text_weights * 4,
        "VAE": base.vae_weights * known.vae_bytes,
        **_caches(known),
    }
    changing = [{k: v for k, v in p.parts.items() if k in {"At work", "Kept for learning"}} for p in phases]
    most = max(changing, key=lambda parts: sum(parts.values()))
    return Phase("All of the training", {**held, **most})


def _beside_gpu(known: _Run) -> Phase:
    """The computer's own memory while a GPU trains: every weight comes through it once."""
    base = known.base
    weights = base.unet_weights * known.half + base.vae_weights * known.vae_bytes + base.text_weights * 4
    parts = {"Programs": _LIBRARIES_GPU, "The base model while it is loaded": weights, **_caches(known)}
    return Phase("Loading", parts)
