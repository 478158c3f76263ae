"""The training loop: read from top to bottom, this is what a run does.

Covered: getting ready, the loop, and what follows a step: records, tests, saves, samples, requests
to end. Each has a module named after it. Not covered: what a step computes (see `learner.py`).
"""

import math
import secrets
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from accelerate import Accelerator

from lora_core.engines.diffusers import states
from lora_core.engines.diffusers.allocator import keep_freed_memory
from lora_core.engines.diffusers.batches import Place, Plan, held_out_batches
from lora_core.engines.diffusers.checks import problems
from lora_core.engines.diffusers.device import (
    device_problems,
    memory_mib,
    new_accelerator,
    peak_gpu_mib,
    peak_ram_mib,
    products,
    use_threads,
)
from lora_core.engines.diffusers.latents import Latents, new_latents
from lora_core.engines.diffusers.learner import Learner, Outcome
from lora_core.engines.diffusers.log import LossAverage, RunLog, StepRecord
from lora_core.engines.diffusers.lora_file import DTYPES, look_at_given, write_lora
from lora_core.engines.diffusers.metadata import Moment, lora_metadata
from lora_core.engines.diffusers.model import BaseModel, load_base
from lora_core.engines.diffusers.optimizers import optimizer_class
from lora_core.engines.diffusers.pictures import Pictures, note_left_out, read_pictures
from lora_core.engines.diffusers.prompts import prompt_texts, read_prompts
from lora_core.engines.diffusers.samples import Samples
from lora_core.engines.diffusers.saves import Saves, check_weights, diverged
from lora_core.engines.diffusers.schedules import try_out
from lora_core.engines.diffusers.watch import Watch
from lora_core.errors import DiskFullError, EngineError, LoraError, SettingsError
from lora_core.reporting import MAKE_ROOM, Ended, Progress, Reporter
from lora_core.settings import CONFIG_NAME, DATASET_NAME, RunConfig, load_run

_PACE_STEPS: Final = 50
"""Steps whose mean time predicts what is left: seconds on a GPU, minutes on a CPU."""


def train(folder: Path, reporter: Reporter, *, resume: Path | None = None) -> Path:
    """Train what `config.toml` and `dataset.toml` in `folder` say; see `Engine.train` for the promises."""
    dataset = folder / DATASET_NAME
    run = load_run(folder / CONFIG_NAME, dataset if dataset.is_file() else None)
    _refuse_unfit(run, reporter)
    with products(run.precision):
        return _train(folder, run, reporter, resume)


def _train(folder: Path, run: RunConfig, reporter: Reporter, resume: Path | None) -> Path:
    prompts = read_prompts(run)
    saves = Saves(folder, run.saving)
    saves.forget_halves()
    resume = resume or run.saving.resume
    state = states.load_state(resume, optimizer_class(run)) if resume else None
    reporter.phase("Reading the pictures")
    pictures = read_pictures(run, reporter)
    reporter.phase("Loading the base model")
    base = load_base(run.model, run.precision)
    use_threads(base.unet.num_parameters())
    accelerator = new_accelerator(run, folder)
    if accelerator.device.type == "cpu":
        keep_freed_memory()
    latents = _prepared(run, base, pictures, accelerator, reporter, step=state.position.step if state else 0)
    pictures = pictures.without(picture for picture, _ in latents.problems)
    plan = Plan(run, pictures.training)
    if run.text.cache_text_encoder_outputs:
        reporter.phase("Reading the captions")
    captions = [*pictures.texts(), *prompt_texts(prompts)]
    learner = Learner(run, base, latents, plan, accelerator, captions)
    trainer = Trainer(
        folder=folder,
        run=run,
        reporter=reporter,
        accelerator=accelerator,
        pictures=pictures,
        plan=plan,
        learner=learner,
        saves=saves,
        samples=Samples(base, learner.texts, prompts, folder / "samples", run.saving.output_name),
        origin=states.origin_of(run, accelerator, pictures.digest(latents.content)),
    )
    if state:
        trainer.go_on_from(state)
    return trainer.train()


def _refuse_unfit(run: RunConfig, reporter: Reporter) -> None:
    """Tell all that speaks against the run before anything is loaded."""
    for_machine = device_problems(run)
    if found := [each for each in (*problems(run), *for_machine) if each.severity == "error"]:
        raise SettingsError(found, what="This run was not started.")
    try_out(run)
    look_at_given(run)
    for advice in for_machine:
        reporter.note(f"{advice.what} {advice.fix}")


def _prepared(
    run: RunConfig,
    base: BaseModel,
    pictures: Pictures,
    accelerator: Accelerator,
    reporter: Reporter,
    *,
    step: int,
) -> Latents:
    """Encode the pictures, and put the frozen networks where they work."""
    reporter.phase("Preparing the pictures")
    base.vae.to(accelerator.device)
    for encoder in base.text_encoders:
        encoder.to(accelerator.device)
    latents = new_latents(run, base.vae, accelerator.device, reporter.note)

    def told(done: int) -> None:
        if request := reporter.request():
            raise Ended(request, step=step)
        reporter.progress(Progress(step=done, total=len(pictures.all)))

    latents.prepare(pictures.all, told)
    note_left_out(reporter, [(picture.entry.name, why) for picture, why in latents.problems])
    if latents.kept and accelerator.device.type != "cpu":
        base.vae.to("cpu")  # not needed on the card again until a sample is drawn
    return latents


class Trainer:
    """One run, from its first or resumed step to its last."""

    def __init__(
        self,
        *,
        folder: Path,
        run: RunConfig,
        reporter: Reporter,
        accelerator: Accelerator,
        pictures: Pictures,
        plan: Plan,
        learner: Learner,
        saves: Saves,
        samples: Samples,
        origin: dict[str, str],
    ) -> None:
        self._folder, self._run, self._reporter, self._accelerator = folder, run, reporter, accelerator
        self._pictures, self._plan, self._learner, self._samples = pictures, plan, learner, samples
        self._saves, self._origin = saves, origin
        weights = sum(tensor.numel() for tensor in learner.lora().values())
        self._watch = Watch(folder, accelerator.device, weights)
        self._held_out = held_out_batches(run, pictures.held_out)
        self._average = LossAverage(plan.steps_per_epoch, [])
        self._pace: deque[float] = deque(maxlen=_PACE_STEPS)
        self._first = 0
        self._session_id, self._started_at = secrets.randbits(32), time.time()
        self._unsettled: tuple[Place, Outcome, float] | None = None
        self._newest_state = 0
        self._done = 0
        self._phase_now = ""

    def go_on_from(self, state: states.State) -> None:
        """Continue at the step after the state's, and say so if that cannot be exact.

        Raises:
            EngineError: the run ends before that step.
            LoraFileError: the state belongs to another network.
        """
        position = state.position
        if position.step > self._plan.steps:
            raise EngineError(
                "The run was not resumed.",
                why=f"The state is from step {position.step}, and the run has {self._plan.steps} steps.",
                fix="Set more steps or epochs, or go on from an earlier state.",
            )
        self._learner.load(state.lora, state.movers)
        self._average = LossAverage(self._plan.steps_per_epoch, position.losses)
        self._first = self._done = position.step
        self._session_id, self._started_at = position.session_id, position.started_at
        if reasons := states.why_not_exact(position.origin, self._origin):
            self._reporter.note(f"The run continues, not bit for bit: {'; '.join(reasons)}.")

    def train(self) -> Path:
        """Run to the end. Returns the finished LoRA file."""
        self._log = RunLog(
            self._folder,
            self._accelerator,
            total=self._plan.steps,
            steps_per_epoch=self._plan.steps_per_epoch,
            resumed_from=self._first,
        )
        try:
            self._loop()
            return self._finish()
        finally:
            self._log_peak()
            self._log.close()
            with suppress(OSError):  # closing TensorBoard's file on a full disk
                self._accelerator.end_training()

    def _log_peak(self) -> None:
        device = self._accelerator.device
        with suppress(LoraError, OSError):  # a full disk has ended the run already, and says so itself
            self._log.peak(
                self._done, device=device.type, gpu_mib=peak_gpu_mib(device), ram_mib=peak_ram_mib()
            )

    def _loop(self) -> None:
        if self._first == 0 and self._run.sampling.sample_at_first:
            self._draw_samples(0)
        self._reporter.progress(Progress(step=self._first, total=self._plan.steps))
        for step in range(self._first, self._plan.steps):
            self._phase("Training")
            started = time.perf_counter()
            place = self._plan.place(step)
            outcome = self._learner.step(place)
            # Reading a number waits for a GPU. So there the last step's are read while this one runs.
            self._settle()
            step_s = time.perf_counter() - started
            self._unsettled = place, outcome, step_s
            if self._accelerator.device.type == "cpu":
                self._settle()
            self._follow(place)
            if slow := self._watch.spilled(step_s):
                self._log.spill(step + 1, step_s)
                self._reporter.note(slow)
            if decided := self._learner.compiling.after_step(step_s, self._plan.steps - step - 1):
                self._reporter.note(decided)

    def _settle(self) -> None:
        """Record the newest step, if that was not done yet.

        Raises:
            EngineError: its loss or gradient is not a number.
        """
        if self._unsettled is None:
            return
        (place, outcome, step_s), self._unsettled = self._unsettled, None
        step, loss = place.step + 1, float(outcome.loss)
        grad_norm = 0.0 if outcome.skipped else float(outcome.grad_norm)
        if not (math.isfinite(loss) and math.isfinite(grad_norm)):
            raise diverged(step, "gradient" if math.isfinite(loss) else "loss")
        average, self._done = self._average.add(loss), step
        self._log.step(
            StepRecord(
                step=step,
                epoch=place.epoch + 1,
                loss=loss,
                loss_average=average,
                lr=outcome.lr,
                rates=dict(outcome.rates),
                grad_norm=grad_norm,
                step_s=step_s,
                memory_mib=memory_mib(self._accelerator.device),
                time=time.time(),
            )
        )
        self._pace.append(step_s)
        mean_s = sum(self._pace) / len(self._pace)
        self._reporter.progress(
            Progress(
                step=step,
                total=self._plan.steps,
                loss=average,
                steps_per_s=1 / mean_s,
                eta_s=(self._plan.steps - step) * mean_s,
            )
        )

    def _follow(self, place: Place) -> None:
        """What is due after a step, in the order in which it would hurt most to lose it."""
        done, epoch = place.step + 1, place.epoch + 1
        if full := self._watch.no_room():
            with suppress(DiskFullError):  # then the run goes on from an earlier one
                self._save_state(place)
            raise Ended("pause", step=done, cause=full, fix=MAKE_ROOM)
        epoch_ends = done % self._plan.steps_per_epoch == 0 or done == self._plan.steps
        by_step = self._saves.step_due(done)
        by_epoch = epoch_ends and self._saves.epoch_due(epoch, self._plan.epochs)
        if by_step:
            self._save(self._saves.step_file(done), place, with_state=self._run.saving.save_state)
        if by_epoch:
            self._save(self._saves.epoch_file(epoch), place, with_state=self._run.saving.save_state)
        if self._reporter.take("save"):
            self._save(self._saves.step_file(done), place, with_state=True)
        if by_step or by_epoch:
            # The last epoch has no file of its own, so it pushes none out.
            passed = min(epoch if epoch_ends else epoch - 1, self._plan.epochs - 1)
            self._saves.forget(done, passed, self._plan.steps_per_epoch, verified=self._newest_state)
        if epoch_ends:
            self._settle()
            self._log.epoch(done, epoch, self._average.value)
        if self._held_out and self._test_due(done, epoch, epoch_ends=epoch_ends):
            self._settle()
            with self._learner.meant():
                self._log.validation(done, self._learner.validation_loss(self._held_out))
        if self._reporter.take("sample") or self._sample_due(done, epoch, epoch_ends=epoch_ends):
            self._draw_samples(done)
        request = self._reporter.request()
        if request and done < self._plan.steps:
            self._save_state(place)
            raise Ended(request, step=done)

    def _test_due(self, done: int, epoch: int, *, epoch_ends: bool) -> bool:
        steps, epochs = (
            self._run.validation.validate_every_n_steps,
            self._run.validation.validate_every_n_epochs,
        )
        return _divides(steps, done) or (epoch_ends and (epochs is None or epoch % epochs == 0))

    def _sample_due(self, done: int, epoch: int, *, epoch_ends: bool) -> bool:
        sampling = self._run.sampling
        if sampling.sample_every_n_epochs is not None:  # as in sd-scripts, steps then do not count
            return epoch_ends and epoch % sampling.sample_every_n_epochs == 0
        return _divides(sampling.sample_every_n_steps, done)

    def _draw_samples(self, step: int) -> None:
        if not self._samples:
            return
        self._settle()
        self._phase("Drawing samples")
        with self._learner.meant():
            self._samples.draw(step, self._reporter, self._accelerator.autocast())

    def _save(self, path: Path, place: Place, *, with_state: bool) -> None:
        """Write a LoRA file, and a state beside it if asked to."""
        self._settle()  # a step whose loss is not a number is never saved
        self._phase("Saving")
        moment = Moment(
            step=place.step + 1,
            epoch=place.epoch + 1,
            session_id=self._session_id,
            started_at=self._started_at,
        )
        with self._learner.meant():
            tensors = self._learner.lora(DTYPES[self._run.precision.save_precision])
        check_weights(moment.step, tensors.values())
        write_lora(path, tensors, lora_metadata(self._run, self._plan, self._pictures, moment))
        self._watch.wrote(path)
        self._reporter.saved(path, moment.step)
        if with_state:
            self._save_state(place)

    def _save_state(self, place: Place) -> None:
        self._settle()
        self._phase("Saving")
        position = states.Position(
            step=place.step + 1,
            epoch=place.epoch + 1,
            losses=self._average.losses(),
            session_id=self._session_id,
            started_at=self._started_at,
            origin=self._origin,
        )
        path = self._saves.state(position.step)
        if self._newest_state != position.step:  # else it lies there already, to the last bit
            lora = self._learner.lora_state()
            check_weights(position.step, lora.values())
            states.save_state(path, position, lora=lora, movers=self._learner.movers())
        self._newest_state = position.step
        self._watch.wrote(path)
        self._reporter.saved(path, position.step)

    def _finish(self) -> Path:
        """The last state and the finished file."""
        last = self._plan.place(self._plan.steps - 1)
        saving = self._run.saving
        wanted = saving.save_state or saving.save_state_on_train_end
        if wanted and self._newest_state != self._plan.steps:
            self._save_state(last)
        path = self._saves.final_file()
        self._save(path, last, with_state=False)
        return path

    def _phase(self, text: str) -> None:
        if text != self._phase_now:
            self._reporter.phase(text)
            self._phase_now = text


def _divides(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
