"""What a recipe must change for the machine that trains, and which engine trains by default.

Covered: 8 bit optimizers, precision and 8 bit weights by what torch said of the machine; the table of
default engines with its reasons. Not covered: how much memory a run takes (see `lora_core.planning`) and
asking torch (see `lora_core.machine`, whose facts are handed in).
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

from lora_core.settings._description import BUILT_IN, SD_SCRIPTS
from lora_core.settings._owners import LYCORIS, PLAIN
from lora_core.settings.presets.bases import BASES
from lora_core.settings.run import setting

_8_BIT: Final = "8bit"
_MIB_OF_GIB: Final = 1024

Facts = Mapping[str, Any]
"""What `lora_core.machine.read_facts` returns: `device`, `bf16`, `memory_mib`, …"""


def memory_of(facts: Facts | None) -> float | None:
    """Gigabytes of the GPU in the facts; None without a GPU or when torch was never asked."""
    if not facts or facts.get("device") != "cuda":
        return None
    mib = facts.get("memory_mib")
    return mib / _MIB_OF_GIB if isinstance(mib, int | float) and mib > 0 else None


def changes_for(values: Mapping[str, Any], facts: Facts | None) -> dict[str, tuple[Any, str]]:
    """What of these values this machine cannot do: key, value in its place, and the reason.

    Where torch was never asked, only what needs more than any machine has is changed.
    """
    found: dict[str, tuple[Any, str]] = {}
    optimizer = str(values.get("optimizer_type", ""))
    if optimizer.lower().endswith(_8_BIT) and (lacking := _no_8_bit(facts)):
        plain = optimizer[: -len(_8_BIT)]
        why = f"{optimizer} {lacking}. {plain} learns the same way, and takes a bit more memory."
        found["optimizer_type"] = (plain, why)
    if not facts or facts.get("device") not in {"cuda", "mps", "cpu"}:
        return found
    device, precision = facts["device"], values.get("mixed_precision")
    if device == "cpu" and precision not in {None, "no"}:
        found["mixed_precision"] = ("no", "Trainings use the processor here, and full numbers suit it best.")
    elif device == "cuda" and precision == "bf16" and facts.get("bf16") is False:
        found["mixed_precision"] = ("fp16", "This card has no bf16, and fp16 takes as little memory.")
    if values.get("fp8_base") and (device != "cuda" or found.get("mixed_precision", ("",))[0] == "no"):
        found["fp8_base"] = (False, "Weights in 8 bits need an NVIDIA or AMD card, which is not here.")
    return found


def _no_8_bit(facts: Facts | None) -> str:
    """Why 8 bit optimizers do not work here; empty when they do."""
    device = (facts or {}).get("device")
    if device is None:
        return "needs an NVIDIA card, and this machine was not looked at yet"
    if device != "cuda":
        return "needs an NVIDIA card, which is not here"
    known = (facts or {}).get("eight_bit")
    if (find_spec("bitsandbytes") is not None) if known is None else known:
        return ""
    return "needs the package bitsandbytes, which is not installed"


class EngineChoice(NamedTuple):
    """The engine to begin with, and why."""

    engine: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRule:
    """One line of the table: where all that it names holds, its engine is the default."""

    engine: str
    reason: str
    families: frozenset[str] = frozenset()
    """Families of base models; none means any."""
    devices: frozenset[str] = frozenset()
    """Devices of torch; none means any."""
    beyond: bool = False
    """Only for a kind of network that the built-in trainer lacks."""


ENGINE_RULES: Final = (
    EngineRule(
        engine=SD_SCRIPTS,
        reason="Only sd-scripts has the chosen kind of network. This app writes its files, and you start "
        "it yourself.",
        beyond=True,
    ),
    EngineRule(
        engine=BUILT_IN,
        reason="Trainings use the processor here. The built-in trainer is tested on it. sd-scripts is made "
        "for NVIDIA cards.",
        devices=frozenset({"cpu"}),
        families=frozenset({"sd15", "sdxl"}),
    ),
    EngineRule(
        engine=BUILT_IN,
        reason="Trainings use the Apple chip here, and sd-scripts is made for NVIDIA cards.",
        devices=frozenset({"mps"}),
        families=frozenset({"sd15", "sdxl"}),
    ),
    EngineRule(
        engine=BUILT_IN,
        reason="The built-in trainer does this family, goes on where it stopped, and needs no set-up.",
        families=frozenset({"sd15", "sdxl"}),
    ),
    EngineRule(
        engine=SD_SCRIPTS,
        reason="Only sd-scripts trains this family. This app writes its files, and you start it yourself.",
    ),
)
"""Which engine is the default; the first line that fits and whose engine is there counts."""


def default_engine(
    base: str,
    facts: Facts | None,
    *,
    installed: Collection[str] = (BUILT_IN,),
    network: str = PLAIN,
    algo: str = "",
) -> EngineChoice:
    """The engine to begin with for this kind of base model (or family) and network on this machine."""
    family = BASES[base].family if base in BASES else base
    device, beyond = str((facts or {}).get("device", "")), _beyond(network, algo)
    for rule in ENGINE_RULES:
        fits = (not rule.families or family in rule.families) and (not rule.devices or device in rule.devices)
        if fits and rule.engine in installed and (beyond or not rule.beyond):
            only = len(set(installed)) == 1
            reason = _ONLY if only and rule.engine == BUILT_IN else rule.reason
            return EngineChoice(rule.engine, _NO_NETWORK if beyond and rule.engine == BUILT_IN else reason)
    return EngineChoice(BUILT_IN, "It is the only trainer that is installed, and it lacks this family.")


def _beyond(network: str, algo: str) -> bool:
    """True for a kind of network that the built-in trainer lacks and sd-scripts has."""
    if network != LYCORIS:
        return network not in setting("network_module").choices_for(BUILT_IN)
    return bool(algo) and algo not in setting("algo").choices_for(BUILT_IN)


_NO_NETWORK: Final = "It is the only trainer that is installed, and it lacks this kind of network."


_ONLY: Final = "The built-in trainer does this family, and it is the only one that is installed."
