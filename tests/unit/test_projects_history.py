"""Projects in two windows: both keep what they changed, and each change can be taken back, also tomorrow."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from test_settings import another_value

from lora_core import history, projects
from lora_core.errors import WorkspaceError
from lora_core.projects import Project
from lora_core.settings import catalogue, presets, setting
from lora_core.workspace import Workspace


@dataclass(frozen=True)
class Preset:
    id: str
    values: dict[str, Any]


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def edit(ws: Workspace, key: str, value: Any) -> Project:
    return projects.save(ws, projects.with_value(projects.load(ws, "x"), key, value))


def test_two_windows_that_change_different_settings_both_win(ws: Workspace) -> None:
    projects.create(ws, "x", {"seed": 1})
    one, two = projects.load(ws, "x"), projects.load(ws, "x")
    one = projects.save(ws, projects.with_value(one, "network_dim", 99))
    two = projects.save(ws, projects.with_value(two, "learning_rate", 0.5))
    assert two.values == {"seed": 1, "network_dim": 99, "learning_rate": 0.5}
    projects.save(ws, projects.with_value(one, "seed", 2))
    assert projects.load(ws, "x").values == {"seed": 2, "network_dim": 99, "learning_rate": 0.5}


def test_many_windows_at_once_lose_nothing(ws: Workspace) -> None:
    projects.create(ws, "x")
    keys = [s.key for s in catalogue() if s.kind == "whole"][:8]

    def change(key: str) -> None:
        for number in range(2, 5):
            edit(ws, key, number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, keys))
    loaded = projects.load(ws, "x")
    assert {key: loaded.value(key) for key in keys} == dict.fromkeys(keys, 4)


def test_a_started_run_is_noted_beside_what_another_window_changed(ws: Workspace) -> None:
    projects.create(ws, "x")
    old = projects.load(ws, "x")
    edit(ws, "network_dim", 99)
    saved = projects.save(ws, projects.done(old, "The training was started.", run="1"))
    assert (saved.value("network_dim"), saved.runs) == (99, ("1",))
    step = projects.can_undo(ws, "x")
    assert step is not None
    assert step.what == "Rank changed from 16 to 99."


def test_a_project_without_a_file_is_made_by_its_first_change_in_either_window(ws: Workspace) -> None:
    one, two = projects.load_or_new(ws, "x"), projects.load_or_new(ws, "x")
    projects.save(ws, projects.with_value(one, "network_dim", 99))
    projects.save(ws, projects.with_value(two, "seed", 5))
    assert projects.load(ws, "x").values == {"network_dim": 99, "seed": 5}


def test_changes_are_taken_back_and_done_again_one_by_one(ws: Workspace) -> None:
    projects.create(ws, "x", {"seed": 1})
    edit(ws, "network_dim", 8)
    edit(ws, "learning_rate", 0.5)
    taken = [projects.undo(ws, "x"), projects.undo(ws, "x")]
    assert [step.what for step in taken if step] == [
        f"Learning rate changed from {setting('learning_rate').default:g} to 0.5.",
        "Rank changed from 16 to 8.",
    ]
    assert projects.load(ws, "x").values == {"seed": 1}
    assert projects.undo(ws, "x") is None
    assert projects.redo(ws, "x") is not None
    assert projects.load(ws, "x").values == {"seed": 1, "network_dim": 8}
    edit(ws, "seed", 2)
    assert projects.can_redo(ws, "x") is None
    assert projects.load(ws, "x").values == {"seed": 2, "network_dim": 8}


@pytest.mark.parametrize("s", {s.kind: s for s in catalogue()}.values(), ids=lambda s: s.kind)
def test_a_setting_of_each_kind_comes_back_exactly(ws: Workspace, s: Any) -> None:
    made = projects.create(ws, "x", {"pretrained_model_name_or_path": Path("/m"), "image_dir": Path("/d")})
    before = projects.run_of(projects.load(ws, "x"))
    changed = edit(ws, s.key, another_value(s))
    assert projects.undo(ws, "x")
    assert projects.run_of(projects.load(ws, "x")) == before
    assert projects.redo(ws, "x")
    assert projects.run_of(projects.load(ws, "x")) == projects.run_of(changed)
    assert made.name == "x"


def test_undo_takes_back_the_newest_change_whichever_window_made_it(ws: Workspace) -> None:
    projects.create(ws, "x")
    mine = edit(ws, "network_dim", 8)
    edit(ws, "seed", 3)
    assert projects.undo(ws, "x")
    assert projects.load(ws, "x").values == {"network_dim": 8}
    assert projects.save(ws, projects.with_value(mine, "batch_size", 2)).values == {
        "network_dim": 8,
        "batch_size": 2,
    }


def test_what_was_typed_is_kept_as_typed_until_the_value_is_set_in_another_way(ws: Workspace) -> None:
    projects.create(ws, "x")
    typed = projects.with_value(projects.load(ws, "x"), "learning_rate", 0.0002)
    projects.save(ws, projects.with_text(typed, "learning_rate", "2,0E-4 "))
    opened = projects.load(ws, "x")
    assert (opened.value("learning_rate"), opened.texts) == (0.0002, {"learning_rate": "2,0E-4 "})
    assert projects.with_value(opened, "learning_rate", 0.5).texts == {}
    unfit = projects.save(ws, projects.with_text(opened, "network_dim", 'many "x"\n\\u'))
    assert projects.load(ws, "x").texts["network_dim"] == 'many "x"\n\\u'
    assert unfit.value("network_dim") == setting("network_dim").default
    assert projects.undo(ws, "x")
    assert projects.load(ws, "x").texts == {"learning_rate": "2,0E-4 "}


def test_a_preset_replaces_the_recipe_leaves_the_target_and_is_one_step(ws: Workspace) -> None:
    projects.create(ws, "x", {"output_name": "cat", "seed": 5, "image_dir": "/pictures"})
    preset = Preset("sdxl.style", {"network_dim": 64, "network_alpha": 32.0})
    chosen = projects.save(ws, projects.with_preset(projects.load(ws, "x"), preset))
    assert chosen.values == {
        "output_name": "cat",
        "image_dir": "/pictures",
        "network_dim": 64,
        "network_alpha": 32.0,
    }
    assert projects.changed_from_preset(chosen) == []
    assert projects.changed_from_preset(edit(ws, "network_dim", 8)) == ["network_dim"]
    assert projects.load(ws, "x").preset_value("network_dim") == 64
    projects.undo(ws, "x")
    projects.undo(ws, "x")
    opened = projects.load(ws, "x")
    assert (opened.preset, opened.preset_values, opened.value("seed")) == ("", {}, 5)


def test_a_real_preset_is_taken_as_it_is_and_survives_the_file(ws: Workspace) -> None:
    projects.create(ws, "x", {"output_name": "cat"})
    composed = presets.composed("sdxl", "style")
    projects.save(ws, projects.with_preset(projects.load(ws, "x"), composed))
    opened = projects.load(ws, "x")
    assert (opened.preset, opened.value("output_name")) == (composed.id, "cat")
    assert projects.changed_from_preset(opened) == []
    assert all(projects.same_value(opened.value(key), value) for key, value in composed.values.items())


def test_the_history_goes_with_a_renamed_project(ws: Workspace) -> None:
    projects.create(ws, "x")
    edit(ws, "network_dim", 8)
    projects.rename(ws, "x", "y")
    assert projects.undo(ws, "y")
    assert projects.load(ws, "y").values == {}


@pytest.mark.parametrize("rubbish", ["", "[]", '{"done": 1, "undone": []}', '{"format": 99}', "\x00"])
def test_a_history_that_cannot_be_read_costs_nothing_else(ws: Workspace, rubbish: str) -> None:
    projects.create(ws, "x")
    (ws.projects / "x.history.json").write_text(rubbish, "utf-8")
    assert projects.can_undo(ws, "x") is None
    edit(ws, "network_dim", 8)
    assert projects.undo(ws, "x")


def test_the_history_is_bounded(ws: Workspace) -> None:
    projects.create(ws, "x")
    one = history.Step("a", 0.0, {"settings:seed": []}, {"settings:seed": [1]})
    many = history.History()
    for _ in range(history.STEPS_KEPT + 20):
        many = many.with_step(one)
    assert len(many.done) == history.STEPS_KEPT
    large = replace(one, after={"settings:training_comment": ["x" * history.CHARACTERS_KEPT]})
    assert history.History((one, one)).with_step(large).done == (large,)


def test_a_text_too_long_for_the_file_is_refused_and_the_file_stays(ws: Workspace) -> None:
    projects.create(ws, "x", {"seed": 3})
    with pytest.raises(WorkspaceError):
        edit(ws, "training_comment", "x" * 2_000_000)
    assert projects.load(ws, "x").values == {"seed": 3}


def test_dates_and_other_things_that_no_setting_has_are_left_out(ws: Workspace) -> None:
    rubbish = "[settings]\nseed = 3\nnetwork_dim = 2020-01-01\nlearning_rate = nan\n[other]\na = [12:00:00]\n"
    (ws.projects / "x.toml").write_text(rubbish, "utf-8")
    assert projects.load(ws, "x").values == {"seed": 3}
    assert edit(ws, "network_dim", 8).values == {"seed": 3, "network_dim": 8}


def test_arguments_that_are_not_described_reach_the_run(ws: Workspace) -> None:
    made = Project(name="x", values={"image_dir": Path("/d")}, other={"max_data_loader_n_workers": 2})
    projects.save(ws, made)
    run = projects.draft_of(projects.load(ws, "x"))
    assert run.other == {"max_data_loader_n_workers": 2}
    assert projects.of_draft("x", run) == made
