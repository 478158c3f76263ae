"""What the trainer keeps on disk besides the LoRA: records, prompts, states, retention."""

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from lora_core.engines.diffusers.checks import problems
from lora_core.engines.diffusers.log import LossAverage, RunLog, StepRecord
from lora_core.engines.diffusers.metadata import VERSION
from lora_core.engines.diffusers.prompts import read_prompts
from lora_core.engines.diffusers.saves import Saves
from lora_core.engines.diffusers.states import Position, load_state, save_state, why_not_exact
from lora_core.errors import EngineError, FileTooNewError, SettingsError
from lora_core.settings import RunConfig, SavingSettings, loads_run


def step(number: int, loss: float = 0.5) -> StepRecord:
    return StepRecord(
        step=number,
        epoch=1,
        loss=loss,
        loss_average=loss,
        lr=1e-4,
        rates={"unet": 1e-4},
        grad_norm=1.0,
        step_s=0.1,
        memory_mib=1.0,
        time=1.0,
    )


def new_log(folder: Path, resumed_from: int = 0) -> RunLog:
    accelerator = Accelerator(log_with="tensorboard", project_dir=folder)
    return RunLog(folder, accelerator, total=10, steps_per_epoch=5, resumed_from=resumed_from)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "progress.jsonl").read_text("utf-8").splitlines()]


def test_a_float32_loss_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    losses = [float(torch.tensor(value)) for value in (0.1, 1 / 3, 1e-8, math.pi)]
    for number, loss in enumerate(losses, start=1):
        log.step(step(number, loss))
    log.close()
    assert [record["loss"] for record in lines(tmp_path)[1:]] == losses


def test_each_record_is_on_disk_before_the_next_step(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    log.step(step(1))
    assert [record["kind"] for record in lines(tmp_path)] == ["start", "step"]
    log.close()


def test_a_resumed_run_drops_what_came_after_its_state_and_a_line_that_was_cut_off(tmp_path: Path) -> None:
    log = new_log(tmp_path)
    for number in range(1, 6):
        log.step(step(number))
    log.validation(3, 0.7)
    log.validation(5, 0.6)
    log.epoch(5, 1, 0.5)
    log.close()
    with (tmp_path / "progress.jsonl").open("a") as file:
        file.write('{"kind": "step", "st')
    new_log(tmp_path, resumed_from=3).close()
    kept = lines(tmp_path)
    assert (kept[0]["kind"], kept[0]["resumed_from"], kept[0]["total"]) == ("start", 3, 10)
    assert [(record["kind"], record["step"]) for record in kept[1:]] == [
        ("step", 1),
        ("step", 2),
        ("step", 3),
        ("validation", 3),
    ]


def test_the_average_covers_one_epoch_and_goes_on_where_it_was() -> None:
    average = LossAverage(3, [])
    assert [average.add(loss) for loss in (1.0, 2.0, 3.0, 7.0)] == [1.0, 1.5, 2.0, 4.0]
    assert LossAverage(3, average.losses()).add(2.0) == 4.0


def run_with(tmp_path: Path, prompts: str, **files: str) -> RunConfig:
    for name, text in files.items():
        (tmp_path / name.replace("_dot_", ".")).write_text(text, "utf-8")
    return loads_run(
        f'pretrained_model_name_or_path = "base"\nseed = 3\nsample_prompts = {prompts}',
        '[[datasets]]\nresolution = [64, 96]\n[[datasets.subsets]]\nimage_dir = "pictures"',
        tmp_path,
    )


def test_a_prompt_line_takes_the_flags_of_sd_scripts(tmp_path: Path) -> None:
    run = run_with(
        tmp_path, '["a cat, sitting --n dog, bad --w 128 --h 64 --d 9 --s 12 --l 3.5 --ss euler_a"]'
    )
    (prompt,) = read_prompts(run)
    assert (prompt.text, prompt.negative) == ("a cat, sitting", "dog, bad")
    assert (prompt.width, prompt.height, prompt.seed, prompt.steps) == (128, 64, 9, 12)
    assert (prompt.guidance, prompt.sampler) == (3.5, "euler_a")


def test_a_plain_prompt_has_the_size_of_training_and_the_seed_of_the_run(tmp_path: Path) -> None:
    (prompt,) = read_prompts(run_with(tmp_path, '["a cat"]'))
    assert (prompt.width, prompt.height, prompt.seed) == (64, 96, 3)
    assert (prompt.steps, prompt.guidance, prompt.sampler) == (30, 7.5, "ddim")


def test_prompts_come_from_text_toml_and_json_files_alike(tmp_path: Path) -> None:
    text = run_with(tmp_path, '"p.txt"', p_dot_txt="# a note\n\na cat --w 32\na dog --w 32\n")
    table = '[prompt]\nwidth = 32\n[[prompt.subset]]\nprompt = "a cat"\n[[prompt.subset]]\nprompt = "a dog"\n'
    toml = run_with(tmp_path, '"p.toml"', p_dot_toml=table)
    listed = '[{"prompt": "a cat", "width": 32}, {"prompt": "a dog", "width": 32}]'
    record = run_with(tmp_path, '"p.json"', p_dot_json=listed)
    lines = run_with(tmp_path, '"lines.json"', **{"lines.json": '["a cat --w 32", "a dog --w 32"]'})
    assert read_prompts(text) == read_prompts(toml) == read_prompts(record) == read_prompts(lines)
    assert [prompt.text for prompt in read_prompts(text)] == ["a cat", "a dog"]


HOSTILE_PROMPTS = {
    "a width that is a list": '[{"prompt": "a cat", "width": [3]}]',
    "an endless width": '[{"prompt": "a cat", "width": Infinity}]',
    "guidance that is no number": '[{"prompt": "a cat", "scale": NaN}]',
    "no list": '{"prompt": "a cat"}',
    "a list of numbers": "[3]",
    "an entry that nothing reads": '[{"prompt": "a cat", "nonsense": 3}]',
    "a side that would fill the memory": '[{"prompt": "a cat", "height": 99999999}]',
    "a list without an end": "[" * 100_000,
}


@pytest.mark.parametrize("content", HOSTILE_PROMPTS.values(), ids=HOSTILE_PROMPTS)
def test_files_of_prompts_in_another_form_are_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(SettingsError, match="sample_prompts"):
        read_prompts(run_with(tmp_path, '"list.json"', **{"list.json": content}))
    with pytest.raises(SettingsError, match="sample_prompts"):
        read_prompts(run_with(tmp_path, '"table.toml"', **{"table.toml": 'prompt = "a cat"'}))


def test_an_entry_that_is_null_is_one_that_is_not_there(tmp_path: Path) -> None:
    record = '[{"prompt": "a cat", "negative_prompt": null, "width": null, "seed": null}]'
    listed = read_prompts(run_with(tmp_path, '"list.json"', **{"list.json": record}))
    assert listed == read_prompts(run_with(tmp_path, '["a cat"]'))


@pytest.mark.parametrize("prompts", ['"nowhere.txt"', '"nowhere.toml"', '["a cat --w wide"]'])
def test_prompts_that_cannot_be_read_are_refused(tmp_path: Path, prompts: str) -> None:
    with pytest.raises(SettingsError):
        read_prompts(run_with(tmp_path, prompts))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ("--ar 16:9", "has --ar, which is not known. Remove it. Known are --n, --w, --h, --d, --s, --l"),
        ("-- a dog", "has --a, which"),
        ("--cn lines.png", "has --cn, which sd-scripts has for other families"),
        ("--w 99999", "'99999' after --w, which must be a whole number from 1 to 4096"),
        ("--h -5", "'-5' after --h, which must be a whole number from 1 to 4096"),
        ("--w 512.5", "after --w, which must be a whole number"),
        ("--w", "'' after --w, which must be"),
        ("--d 99999999999999999999", "after --d, which must be a whole number of"),
        ("--l nan", "after --l, which must be a number"),
        ("--s many", "after --s, which must be a whole number"),
    ],
)
def test_a_flag_that_cannot_act_is_refused_before_anything_is_loaded(
    tmp_path: Path, flags: str, said: str
) -> None:
    run = run_with(tmp_path, f'["a cat {flags}"]')
    with pytest.raises(SettingsError, match=re.escape(said)):
        read_prompts(run)
    assert any(said in f"{problem.what} {problem.fix}" for problem in problems(run))


def test_a_negative_prompt_may_be_empty(tmp_path: Path) -> None:
    (prompt,) = read_prompts(run_with(tmp_path, '["a cat --n  --w 64"]'))
    assert (prompt.negative, prompt.width) == ("", 64)


@pytest.mark.parametrize("file", ["p.txt", "p.json"])
def test_samples_without_a_prompt_in_their_file_are_refused(tmp_path: Path, file: str) -> None:
    content = {"p.txt": "# none yet\n\n", "p.json": "[]"}[file]
    run = run_with(tmp_path, f'"{file}"\nsample_every_n_steps = 5', **{file: content})
    with pytest.raises(SettingsError, match="there is no prompt in what was given"):
        read_prompts(run)
    assert read_prompts(run_with(tmp_path, f'"{file}"')) == ()


def test_old_epoch_files_and_their_states_go_and_the_newest_stay(tmp_path: Path) -> None:
    saves = Saves(tmp_path, SavingSettings(save_every_n_epochs=2, save_last_n_epochs=2))
    for epoch in range(1, 11):
        if saves.epoch_due(epoch, epochs=10):
            saves.epoch_file(epoch).touch()
            saves.state(epoch * 5).mkdir(parents=True)
            saves.forget(epoch * 5, epoch, steps_per_epoch=5, verified=epoch * 5)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "lora-000006.safetensors",
        "lora-000008.safetensors",
    ]
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [
        "lora-step00000030-state",
        "lora-step00000040-state",
    ]


def test_states_can_be_fewer_than_files(tmp_path: Path) -> None:
    saving = SavingSettings(
        save_state=True,
        save_every_n_epochs=1, save_last_n_epochs_state=2, save_every_n_steps=10, save_last_n_steps_state=10,
    )  # fmt: skip
    saves = Saves(tmp_path, saving)
    for step in range(10, 101, 10):
        saves.step_file(step).touch()
        saves.state(step).mkdir(parents=True, exist_ok=True)
        if step % 20 == 0:
            saves.epoch_file(step // 20).touch()
        saves.forget(step, step // 20, steps_per_epoch=20, verified=step)
    assert len(list((tmp_path / "checkpoints").glob("lora-step*"))) == 10
    assert len(list((tmp_path / "checkpoints").glob("lora-00*"))) == 5
    assert sorted(path.name for path in (tmp_path / "states").iterdir()) == [
        "lora-step00000080-state",  # the step's turn is over, and its epoch is one of the last two
        "lora-step00000090-state",
        "lora-step00000100-state",
    ]


def test_what_a_kill_kept_from_going_goes_at_the_next_save_and_the_rest_stays(tmp_path: Path) -> None:
    saves = Saves(tmp_path, SavingSettings(save_every_n_steps=10, save_last_n_steps=10))
    others = [
        saves.step_file(15),
        saves.final_file(),
        saves.epoch_file(1),
        saves.folder / "checkpoints/a.safetensors",
    ]
    for path in (*others, saves.step_file(10), saves.step_file(20), saves.step_file(50), saves.step_file(60)):
        path.touch()
    saves.forget(60, 1, steps_per_epoch=40, verified=60)
    kept = {saves.step_file(50), saves.step_file(60), *others}
    assert set((tmp_path / "checkpoints").iterdir()) == kept, "15 was asked for, and epochs have no limit"


def test_step_files_further_back_than_asked_go(tmp_path: Path) -> None:
    saves = Saves(tmp_path, SavingSettings(save_every_n_steps=10, save_last_n_steps=20))
    for number in range(1, 61):
        if saves.step_due(number):
            saves.step_file(number).touch()
            saves.forget(number, 0, steps_per_epoch=100, verified=number)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "lora-step00000040.safetensors",
        "lora-step00000050.safetensors",
        "lora-step00000060.safetensors",
    ]


def state_in(folder: Path) -> Path:
    position = Position(step=3, epoch=1, losses=[0.5], session_id=1, started_at=2.0, origin={"torch": "1"})
    path = folder / "states" / "lora-step00000003-state"
    save_state(
        path,
        position,
        lora={"a": torch.arange(3.0)},
        movers={"optimizer": {"state": {0: torch.ones(2)}}, "schedule": {"last": 3}},
    )
    return path


def test_a_state_comes_back_as_it_was_saved_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = state_in(tmp_path)
    state = load_state(path)
    assert (state.position.step, state.position.losses, state.movers["schedule"]) == (3, [0.5], {"last": 3})
    assert torch.equal(state.lora["a"], torch.arange(3.0))
    assert torch.equal(state.movers["optimizer"]["state"][0], torch.ones(2))
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["lora.safetensors", "optimizer.pt"])
@pytest.mark.parametrize("harm", ["cut", "changed", "gone"])
def test_a_damaged_state_is_refused_before_it_is_used(tmp_path: Path, name: str, harm: str) -> None:
    file = state_in(tmp_path) / name
    data = file.read_bytes()
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-9] if harm == "cut" else data[:-9] + b"\0" * 9)
    with pytest.raises(EngineError, match="step00000003"):
        load_state(file.parent)


def test_a_folder_that_is_no_state_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="not a state"):
        load_state(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", "two"),
        ("step", -3),
        ("step", 2.5),
        ("step", True),
        ("epoch", None),
        ("losses", None),
        ("losses", ["a"]),
        ("losses", [math.nan]),
        ("session_id", "x"),
        ("started_at", "x"),
        ("origin", None),
        ("origin", {"torch": 1}),
        ("files", None),
    ],
)
def test_a_state_whose_record_has_values_of_another_kind_is_refused(
    tmp_path: Path, name: str, value: Any
) -> None:
    path = state_in(tmp_path)
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, name: value}))
    with pytest.raises(EngineError, match="step00000003"):
        load_state(path)


def test_a_state_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = state_in(tmp_path)
    record = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**record, "format": 99}))
    with pytest.raises(FileTooNewError):
        load_state(path)


def test_what_differs_from_the_state_is_named() -> None:
    before = {"torch": "2.13.0", "threads": "2", "settings": "a", "device": "cpu"}
    assert why_not_exact(before, before) == []
    reasons = why_not_exact(before, {"torch": "2.14.0", "threads": "2", "settings": "b", "device": "cpu"})
    assert reasons == ["torch was 2.13.0 and is 2.14.0", "the settings changed"]


def test_what_a_killed_run_was_writing_is_cleared_away_and_nothing_else(tmp_path: Path) -> None:
    saves = Saves(tmp_path, SavingSettings())
    saves.final_file().touch()
    saves.state(3).mkdir(parents=True)
    half_file, half_state = tmp_path / "checkpoints" / ".a.x.part", tmp_path / "states" / ".b.y.part"
    half_file.touch()
    half_state.mkdir()
    (half_state / "lora.safetensors").touch()
    saves.forget_halves()
    assert not half_file.exists()
    assert not half_state.exists()
    assert saves.final_file().exists()
    assert saves.state(3).exists()


def test_the_version_in_lora_files_is_the_project_s() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert project["project"]["version"] == VERSION
