"""Twin runs: the same tiny run twice, with one value different, and all that was seen of both.

Covered: making and remembering runs, what a run saw at each use of its pictures, the record of one act. Not
covered: what each setting should do (see the other `acts_*_rig.py` modules).

The base model is loaded once and copied for each run, because loading takes longer than two steps.
"""

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from trainer_rig import Ears, Rig, draw_pictures, records

from lora_core.engines import get
from lora_core.engines.diffusers import learner, trainer
from lora_core.engines.diffusers.batches import Plan
from lora_core.engines.diffusers.noise import NoiseSchedule
from lora_core.errors import SettingsError
from lora_core.settings import DatasetFile, RunConfig, load_run, run_files, with_values

RATE: Final = 0.01
"""The learning rate of all twins that do not change it."""
FIRST: Final = {"max_train_steps": 1}
"""For what shows at the first step."""
FOUR: Final = {"max_train_steps": 4}
_BESIDE_SETTINGS: Final = {"second", "lists"}


@dataclass(frozen=True)
class Use:
    """One batch as the trainer used it."""

    words: list[str]
    latents: Tensor
    noise: Tensor
    """What was added to the latents."""
    timesteps: Tensor
    hidden: Tensor
    predicted: Tensor
    target: Tensor
    mask: Tensor | None
    weights: Tensor
    loss: float
    schedule: NoiseSchedule

    @property
    def snr(self) -> Tensor:
        return self.schedule.snr[self.timesteps]

    @property
    def errors(self) -> Tensor:
        """(batch): the squared mistake of each sample."""
        return (self.predicted - self.target).square().mean(dim=(1, 2, 3))


@dataclass
class Seen:
    """One run and all that was seen of it."""

    folder: Path
    run: RunConfig
    uses: list[Use] = field(default_factory=list)
    words: list[list[str]] = field(default_factory=list)
    ears: Ears = field(default_factory=Ears)
    lora: dict[str, Tensor] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    """The settings that the trainer named when it did not start."""

    @property
    def losses(self) -> list[float]:
        return [record["loss"] for record in records(self.folder)]

    @property
    def rates(self) -> list[float]:
        return [record["lr"] for record in records(self.folder)]

    @property
    def norms(self) -> list[float]:
        return [record["grad_norm"] for record in records(self.folder)]

    @property
    def tests(self) -> list[tuple[int, float]]:
        return [(record["step"], record["validation_loss"]) for record in records(self.folder, "validation")]

    @property
    def steps_per_epoch(self) -> int:
        return int(records(self.folder, "start")[0]["steps_per_epoch"])

    @property
    def files(self) -> list[str]:
        """LoRA files, states and samples, by their names."""
        found = [
            path for kind in ("checkpoints", "states", "samples") for path in self.folder.glob(f"{kind}/*")
        ]
        return sorted(path.name for path in found)

    def layers(self, *parts: str) -> dict[str, Tensor]:
        """The tensors whose names hold all of these parts."""
        return {name: tensor for name, tensor in self.lora.items() if all(part in name for part in parts)}

    def most(self, *parts: str) -> float:
        """The largest number among the `up` weights whose names hold these parts."""
        return max(float(tensor.abs().max()) for tensor in self.layers("lora_up", *parts).values())


@dataclass(frozen=True)
class Act:
    """What a setting does, shown by two runs."""

    value: Any
    """The changed value; called with the `Twins` where it is a file or folder that must be made."""
    shows: Callable[[Seen, Seen], None]
    """Asserts on the run without and the run with the changed value."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What both runs have in common besides the plain run; a callable value is called with the `Twins`.

    `second` are the settings of a second folder of pictures, and `lists` are further items of
    the `key=value` lists.
    """
    in_second: bool = False
    """The setting is changed in the second folder alone."""


class Twins:
    """Makes runs, each once."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        files = rig.folder("plain files", max_train_steps=2, save_precision="float")
        self._plain = load_run(files / "config.toml")
        self._seen: dict[str, Seen] = {}
        self._made_so_far = 0
        self._bases: dict[str, Any] = {}
        self._load_base = trainer.load_base

    def of(self, key: str, act: Act) -> tuple[Seen, Seen]:
        """The run without and the run with the changed value."""
        beside, value = dict(act.beside), act.value(self) if callable(act.value) else act.value
        if act.in_second:
            return self.run(beside), self.run({**beside, "second": {**beside["second"], key: value}})
        return self.run(beside), self.run({**beside, key: value})

    def run(self, values: Mapping[str, Any]) -> Seen:
        """A run with these values over the plain run, made once."""
        values = {key: value(self) if callable(value) else value for key, value in values.items()}
        known = repr(sorted(values.items()))
        if known not in self._seen:
            self._made_so_far += 1
            self._seen[known] = self._made(values, self.rig.root / f"run {self._made_so_far}")
        return self._seen[known]

    def _made(self, values: dict[str, Any], folder: Path) -> Seen:
        run = with_values(
            self._plain, {key: value for key, value in values.items() if key not in _BESIDE_SETTINGS}
        )
        if "lists" in values:
            run = run.model_copy(update={"other": values["lists"]})
        if "second" in values:
            run = _with_second(run, values["second"])
        folder.mkdir()
        for name, text in run_files(run).items():
            (folder / name).write_text(text, "utf-8")
        seen = Seen(folder, run)
        try:
            with self._watched(seen):
                path = get("diffusers").train(folder, seen.ears)
        except SettingsError as error:
            seen.refused = " ".join(str(problem.setting) for problem in error.problems)
            return seen
        finally:
            _forget_accelerate()
        with safe_open(path, "pt") as opened:
            seen.lora = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  not a dict
            seen.notes = opened.metadata()
        return seen

    @contextmanager
    def _watched(self, seen: Seen) -> Iterator[None]:
        """See through the trainer's own functions, which all still do their work."""
        last: dict[str, Any] = {}
        predicted, loss, words = learner.Learner._predicted, learner.loss, Plan.words

        def seen_words(plan: Plan, *where: Any) -> list[str]:
            last["words"] = words(plan, *where)
            return list(last["words"])

        def seen_predicted(
            self: Any, latents: Any, noise: Any, timesteps: Any, texts: Any, ids: Any
        ) -> Tensor:
            last.update(latents=latents, noise=noise, timesteps=timesteps, hidden=texts.hidden.detach())
            return predicted(self, latents, noise, timesteps, texts, ids)

        def seen_loss(
            answer: Tensor, target: Tensor, timesteps: Tensor, schedule: Any, settings: Any, **more: Any
        ) -> Tensor:
            counted = loss(answer, target, timesteps, schedule, settings, **more)
            use = Use(
                **last,
                **more,
                predicted=answer.detach(),
                target=target,
                loss=float(counted.detach()),
                schedule=schedule,
            )
            seen.uses.append(use)
            return counted

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(learner.Learner, "_predicted", seen_predicted)
            patch.setattr(learner, "loss", seen_loss)
            patch.setattr(Plan, "words", seen_words)
            patch.setattr(trainer, "load_base", partial(self._copied_base, seen.run))
            yield

    def _copied_base(self, run: RunConfig, model: Any, precision: Any) -> Any:
        known = f"{model!r} {precision.mixed_precision}"
        if known not in self._bases:
            self._bases[known] = self._load_base(model, precision)
        base = self._bases[known]
        # Copying takes most of a short run, and frozen weights are changed by these two settings alone.
        shared = [base.vae, *base.tokenizers]
        if not (run.network.base_weights or run.precision.fp8_base):
            shared += [*base.unet.parameters(), *base.unet.buffers()]
        return copy.deepcopy(base, {id(part): part for part in shared})

    def pictures(self, name: str, sizes: list[tuple[int, int]], caption: str | None = "a cat") -> Path:
        """A folder of pictures, made once."""
        folder = self.rig.root / name
        if not folder.exists():
            draw_pictures(folder, sizes, caption)
        return folder

    def captioned(self, *captions: str) -> Path:
        """A folder of two pictures with this caption, or of one for each."""
        captions = captions if len(captions) > 1 else captions * 2
        name = hashlib.sha256("".join(captions).encode()).hexdigest()[:8]
        folder = self.pictures(f"captioned {name}", [(48, 48)] * len(captions))
        for path, caption in zip(sorted(folder.glob("*.png")), captions, strict=True):
            path.with_suffix(".txt").write_text(caption, "utf-8")
        return folder

    def lora_file(self) -> Path:
        """A LoRA that does something."""
        return self.run({}).folder / "checkpoints" / "tiny.safetensors"


def captions(*texts: str) -> Callable[[Twins], Path]:
    """The value of `image_dir` for pictures with these captions."""
    return lambda twins: twins.captioned(*texts)


def _with_second(run: RunConfig, values: Mapping[str, Any]) -> RunConfig:
    (dataset,) = run.dataset.datasets
    first = dataset.subsets[0]
    second = type(first)(**{**first.model_dump(), **values})
    return run.model_copy(
        update={"dataset": DatasetFile(datasets=(dataset.model_copy(update={"subsets": (first, second)}),))}
    )


def _forget_accelerate() -> None:
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def close(one: Any, other: Any, rtol: float = 1e-4, atol: float = 1e-7) -> None:
    """Assert that numbers or tensors are the same but for rounding."""
    torch.testing.assert_close(
        torch.as_tensor(one, dtype=torch.float64),
        torch.as_tensor(other, dtype=torch.float64),
        rtol=rtol,
        atol=atol,
    )


def same_questions(one: Seen, other: Seen) -> None:
    """Assert that the first step of both had the same pictures, noise, words and answer."""
    first, second = one.uses[0], other.uses[0]
    for part in ("latents", "noise", "timesteps", "hidden", "predicted"):
        assert torch.equal(getattr(first, part), getattr(second, part)), part
    assert first.words == second.words


def differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """True when the same tensors have other numbers."""
    assert one.keys() == other.keys()
    return any(not torch.equal(one[name], other[name]) for name in one)


def learns_otherwise(one: Seen, other: Seen) -> None:
    """The same questions at first, the same start, and another LoRA in the end."""
    same_questions(one, other)
    assert one.uses[0].loss == other.uses[0].loss
    assert differ(one.lora, other.lora)


def note_of(key: str) -> Callable[[Seen, Seen], None]:
    """The value stands in the file, under this name, and the training is the same."""

    def shows(one: Seen, other: Seen) -> None:
        assert one.losses == other.losses
        assert other.notes[key] == "shown here"
        assert one.notes.get(key) != other.notes[key]

    return shows


def told(seen: Seen) -> str:
    return " ".join([*seen.ears.phases, *seen.ears.notes, json.dumps(seen.notes)])
