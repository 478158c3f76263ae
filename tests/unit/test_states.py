"""Saved states: only a whole one counts, the last good one outlives all, and what is left out is told."""

import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from killed import killed_at

from lora_core.engines import manifest
from lora_core.engines.diffusers.saves import Saves
from lora_core.errors import EngineError
from lora_core.jobs.states import broken, complete_states, found_states, to_go_on_from
from lora_core.settings import SavingSettings


def made(folder: Path, step: int, *, content: bytes = b"numbers") -> Path:
    """A whole state, as an engine leaves it."""
    path = folder / "states" / f"x-step{step:08d}-state"
    path.mkdir(parents=True)
    (path / "lora.safetensors").write_bytes(content)
    (path / "optimizer.pt").write_bytes(content * 3)
    manifest.seal(path, {"step": step, "epoch": 2, "loss": 0.25})
    return path


def damaged(path: Path) -> Path:
    file = path / "optimizer.pt"
    file.write_bytes(b"\0" * file.stat().st_size)
    return path


def test_a_whole_state_tells_step_epoch_loss_and_size(tmp_path: Path) -> None:
    path = made(tmp_path, 20)
    (state,) = complete_states(tmp_path)
    assert (state.name, state.step, state.epoch, state.loss, state.bytes) == (path.name, 20, 2, 0.25, 28)
    assert state.sound
    assert broken(tmp_path) == []


def test_the_loss_of_a_state_without_one_is_the_mean_of_its_last(tmp_path: Path) -> None:
    record = made(tmp_path, 20) / manifest.NAME
    about = json.loads(record.read_text()) | {"loss": None, "losses": [0.5, 1.0]}
    record.write_text(json.dumps(about))
    assert complete_states(tmp_path)[0].loss == 0.75


def _no_manifest(path: Path) -> None:
    (path / manifest.NAME).unlink()


def _engine_s_own_record(path: Path) -> None:
    (path / manifest.NAME).rename(path / "train_state.json")


def _no_files(path: Path) -> None:
    _changed(path, files={})


def _no_hashes(path: Path) -> None:
    _changed(path, files={"lora.safetensors": {"bytes": 7}})


def _rubbish(path: Path) -> None:
    (path / manifest.NAME).write_bytes(b"\0" * 40)


def _no_step(path: Path) -> None:
    _changed(path, step=None)


def _cut(path: Path) -> None:
    os.truncate(path / "optimizer.pt", 3)


def _lost(path: Path) -> None:
    (path / "lora.safetensors").unlink()


def _changed(path: Path, **values: object) -> None:
    record = path / manifest.NAME
    record.write_text(json.dumps(json.loads(record.read_text()) | values))


@pytest.mark.parametrize(
    "harm", [_no_manifest, _engine_s_own_record, _no_files, _no_hashes, _rubbish, _no_step, _cut, _lost]
)
def test_a_state_that_is_not_whole_is_no_state_and_is_named(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    made(tmp_path, 10)
    half = made(tmp_path, 20)
    harm(half)
    assert [state.step for state in complete_states(tmp_path)] == [10]
    assert broken(tmp_path) == [half.name]


def test_a_state_that_was_being_written_is_named_by_the_name_it_would_have_had(tmp_path: Path) -> None:
    part = manifest.half_name(tmp_path / "states" / "x-step00000030-state")
    part.mkdir(parents=True)
    assert broken(tmp_path) == ["x-step00000030-state"]
    made(tmp_path, 30)
    assert broken(tmp_path) == [], "a whole one of the same name is there"


def test_half_written_states_are_told_when_the_run_goes_on(tmp_path: Path) -> None:
    good = made(tmp_path, 10)
    _cut(made(tmp_path, 20))
    manifest.half_name(tmp_path / "states" / "x-step00000030-state").mkdir()
    notes: list[str] = []
    assert to_go_on_from(tmp_path, good, notes.append) == good
    (note,) = notes
    assert "x-step00000020-state, x-step00000030-state" in note
    assert "half written" in note


def test_half_written_states_are_told_when_the_run_starts_from_the_beginning(tmp_path: Path) -> None:
    _cut(made(tmp_path, 20))
    notes: list[str] = []
    assert to_go_on_from(tmp_path, None, notes.append) is None
    assert "x-step00000020-state is only half written" in notes[0]


def test_a_state_with_a_wrong_hash_falls_back_to_the_newest_good_one_before_it(tmp_path: Path) -> None:
    good = made(tmp_path, 10)
    bad, worse = damaged(made(tmp_path, 20)), damaged(made(tmp_path, 30))
    made(tmp_path, 40)
    notes: list[str] = []
    assert to_go_on_from(tmp_path, worse, notes.append) == good
    assert [worse.name in notes[0], bad.name in notes[1], good.name in notes[2]] == [True] * 3
    assert "optimizer.pt was changed" in notes[0]
    assert [state.step for state in complete_states(tmp_path)] == [40, 10], "never offered again"
    assert [state.step for state in found_states(tmp_path) if not state.sound] == [30, 20]
    assert broken(tmp_path) == [bad.name, worse.name]


def test_without_any_good_state_the_run_is_refused_with_what_to_do(tmp_path: Path) -> None:
    bad = damaged(made(tmp_path, 10))
    with pytest.raises(EngineError, match="no older one is good"):
        to_go_on_from(tmp_path, bad, lambda _text: None)
    assert complete_states(tmp_path) == []


def test_a_state_of_another_run_is_left_to_the_engine(tmp_path: Path) -> None:
    other = damaged(made(tmp_path / "other", 10))
    assert to_go_on_from(tmp_path / "mine", other, lambda _text: None) == other
    assert [state.sound for state in found_states(tmp_path / "other")] == [True]


def test_files_far_larger_than_a_piece_are_hashed_without_taking_their_size_in_memory(tmp_path: Path) -> None:
    import tracemalloc

    path = made(tmp_path, 10, content=b"x" * 8_000_000)
    tracemalloc.start()
    try:
        assert manifest.damage(path) == ""
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# --- rolling ------------------------------------------------------------------------------------------


def test_the_last_verified_state_stays_whatever_the_settings_say(tmp_path: Path) -> None:
    saves = Saves(tmp_path, SavingSettings(save_every_n_steps=10, save_last_n_steps_state=1))
    for step in (10, 20, 30):
        saves.state(step).mkdir(parents=True)
        saves.forget(step, 0, 100, verified=10)  # nothing newer than step 10 was read back
    assert len(list((tmp_path / "states").iterdir())) == 3
    saves.forget(30, 0, 100, verified=30)
    assert not saves.state(20).exists()


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        # Saves are due at steps 10, 20, …, or at 16, 32, …; the others were asked for.
        ({"save_every_n_steps": 10, "save_last_n_steps_state": 20, "save_state": True}, [27, 30, 43, 47, 50]),
        (
            {"save_every_n_epochs": 1, "save_last_n_epochs_state": 2, "save_state": True},
            [20, 27, 30, 43, 47, 50],
        ),
        ({"save_every_n_steps": 10, "save_state": True}, [3, 13, 16, 20, 27, 30, 43, 47, 50]),
        ({"save_last_n_steps_state": 5}, [3, 13, 16, 20, 27, 30, 43, 47, 50]),
        ({"save_every_n_steps": 10, "save_last_n_steps_state": 5}, [43, 47, 50]),
    ],
)
def test_states_that_were_asked_for_and_those_of_the_schedule_go_together(
    tmp_path: Path, settings: dict[str, Any], left: list[int]
) -> None:
    saves = Saves(tmp_path, SavingSettings(output_name="a[b]", **settings))
    for step in (3, 13, 16, 20, 27, 30, 43, 47, 50):
        made(tmp_path, step).rename(saves.state(step))
    made(tmp_path, 3).rename(tmp_path / "states" / "other-step00000003-state")
    saves.forget(50, 3, 16, verified=3)
    saves.forget(50, 3, 16, verified=0)
    assert len(complete_states(tmp_path)) == 10, "nothing newer was read back"
    saves.forget(50, 3, 16, verified=50)
    found = complete_states(tmp_path)
    assert sorted(one.step for one in found if one.name.startswith("a[b]")) == left
    assert any(one.name.startswith("other") for one in found)


def test_a_state_that_is_read_back_differently_is_not_kept_and_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lora_core.engines.diffusers.states import Position, save_state

    position = Position(step=10, epoch=1, losses=[], session_id=1, started_at=2.0, origin={})
    path = made(tmp_path, 10)
    monkeypatch.setattr(manifest, "damage", lambda _folder: "Its file optimizer.pt was changed or cut off.")
    with pytest.raises(EngineError, match="written and read back"):
        save_state(path, position, lora={}, movers={})
    monkeypatch.undo()
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert manifest.damage(path) == ""


def test_a_crash_while_one_state_replaces_another_leaves_one_of_them(tmp_path: Path) -> None:
    path = made(tmp_path, 10)
    part = manifest.half_name(path)
    shutil.copytree(path, part)
    path.rename(path.with_name(f".{path.name}.abc.old"))  # killed here
    manifest.tidy(path.parent)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]
    assert manifest.damage(path) == ""


def test_a_removed_state_is_gone_under_its_name_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, 10)
    monkeypatch.setattr(manifest.shutil, "rmtree", lambda *_rest, **_names: None)  # killed before it ends
    manifest.remove(path)
    assert complete_states(tmp_path) == []
    assert broken(tmp_path) == [], "it was removed on purpose, and is not told as half written"
    monkeypatch.undo()
    manifest.tidy(path.parent)
    assert list(path.parent.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="kills a forked process between two file operations")
@pytest.mark.parametrize("step", [3, 2], ids=["a new state", "one that replaces another"])
def test_a_kill_at_any_boundary_inside_a_save_leaves_a_good_state(tmp_path: Path, step: int) -> None:
    """A child saves a state and lets go of the first; it dies before its nth file operation, for every n."""
    import torch  # once, before the forks

    from lora_core.engines.diffusers.states import Position, load_state, save_state

    def save(folder: Path, step: int) -> None:
        position = Position(step=step, epoch=1, losses=[0.5], session_id=1, started_at=2.0, origin={})
        saves = Saves(
            folder, SavingSettings(output_name="x", save_every_n_steps=1, save_last_n_steps_state=1)
        )
        save_state(saves.state(step), position, lora={"a": torch.arange(3.0)}, movers={"optimizer": {}})
        saves.forget(step, 0, 100, verified=step)

    died, operations = True, 0
    while died:
        folder = tmp_path / str(operations)
        folder.mkdir()
        save(folder, 1)
        save(folder, 2)
        died = killed_at(operations, folder, partial(save, folder, step))
        good = complete_states(folder)
        assert good, f"no good state after a kill at operation {operations}"
        for state in good:
            assert load_state(state.path).position.step == state.step
        assert step == 2 or good[0].step in {2, 3}
        Saves(folder, SavingSettings(output_name="x")).forget_halves()
        assert {state.step for state in complete_states(folder)} >= {state.step for state in good}
        assert broken(folder) == []
        operations += 1
    assert [state.step for state in complete_states(folder)] == [step, step - 1]
    assert operations > 20, "the hook saw the file operations"
