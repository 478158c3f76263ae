"""Projects: nothing typed is lost, names are safe, newer files are left alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from test_settings import a_run, another_value

from lora_core import projects
from lora_core.errors import FileTooNewError, SettingsError, WorkspaceError
from lora_core.projects import Project
from lora_core.settings import catalogue, dump_dataset, setting
from lora_core.workspace import Workspace

CHOSEN = {"pretrained_model_name_or_path": Path("/models/base"), "image_dir": Path("C:\\users\\new\\images")}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path)


def test_every_setting_of_a_project_survives_saving_and_opening(workspace: Workspace) -> None:
    values = {s.key: another_value(s) for s in catalogue()}
    made = projects.create(workspace, "All", values)
    opened = projects.load(workspace, "All")
    assert projects.run_of(opened) == projects.run_of(made)
    for s in catalogue():
        assert getattr(projects.run_of(opened), s.concern, None) == getattr(
            projects.run_of(made), s.concern, None
        )


def test_keys_of_a_dataset_that_nobody_described_are_kept_and_handed_on(workspace: Workspace) -> None:
    kept = Project(
        name="x", values=CHOSEN, other={"one": 1}, dataset_other={"two": "b"}, subset_other={"three": [3]}
    )
    projects.save(workspace, kept)
    opened = projects.load(workspace, "x")
    assert opened == replace(kept, values={key: str(value) for key, value in CHOSEN.items()})
    run = projects.run_of(opened)
    assert projects.others_of(run) == {
        "other": {"one": 1}, "dataset_other": {"two": "b"}, "subset_other": {"three": [3]}
    }  # fmt: skip
    assert all(part in dump_dataset(run) for part in ('two = "b"', "three = [3]"))
    without = projects.save(workspace, replace(opened, dataset_other={}))
    assert projects.load(workspace, "x") == without
    projects.undo(workspace, "x")
    assert projects.load(workspace, "x").dataset_other == {"two": "b"}


def test_a_project_without_a_base_or_images_says_what_to_choose() -> None:
    with pytest.raises(SettingsError) as caught:
        projects.run_of(Project(name="new"))
    assert [p.setting for p in caught.value.problems] == ["pretrained_model_name_or_path", "image_dir"]
    emptied = Project(name="new", values={**CHOSEN, "image_dir": None})
    with pytest.raises(SettingsError) as caught:
        projects.run_of(emptied)
    assert [p.setting for p in caught.value.problems] == ["image_dir"]


def test_a_value_that_does_not_fit_is_told_with_what_is_missing() -> None:
    with pytest.raises(SettingsError) as caught:
        projects.run_of(Project(name="x", values={**CHOSEN, "network_dim": 0, "nothing": 1}))
    assert [p.setting for p in caught.value.problems] == ["network_dim", "nothing"]


def test_going_back_to_the_starting_value_leaves_no_trace() -> None:
    changed = projects.with_value(Project(name="x"), "network_dim", 99)
    assert changed.value("network_dim") == 99
    back = projects.with_value(changed, "network_dim", setting("network_dim").default)
    assert back == Project(name="x")


def test_a_share_of_nothing_and_no_steps_are_told_apart() -> None:
    assert projects.with_value(Project(name="x"), "lr_warmup_steps", 0.0).values == {"lr_warmup_steps": 0.0}


def test_an_emptied_setting_stays_empty(workspace: Workspace) -> None:
    projects.save(workspace, Project(name="x", values={"metadata_title": None, "seed": 7}))
    assert projects.load(workspace, "x").values == {"metadata_title": None, "seed": 7}


def test_the_shortcuts_name_base_images_and_trigger_word(workspace: Workspace) -> None:
    made = projects.create(workspace, "x", {**CHOSEN, "metadata_trigger_phrase": "zog"})
    opened = projects.load(workspace, made.name)
    assert (opened.base_model, opened.dataset, opened.trigger_word) == (*CHOSEN.values(), "zog")
    assert Project(name="y").base_model is None


def test_a_taken_name_gets_a_number_whatever_its_case(workspace: Workspace) -> None:
    assert [projects.create(workspace, name).name for name in ("Cat", "cat", "CAT")] == [
        "Cat",
        "cat 2",
        "CAT 3",
    ]


@pytest.mark.parametrize("wanted", ["../../etc/passwd", "a/b\\c:d", "", "CON", ".hidden", "x" * 300, "né 猫"])
def test_a_name_never_leaves_the_folder_of_projects(workspace: Workspace, wanted: str) -> None:
    made = projects.create(workspace, wanted)
    assert projects.names(workspace) == [made.name]
    assert projects.path_of(workspace, made.name).parent == workspace.projects
    assert projects.load(workspace, made.name) == made


def test_renaming_keeps_everything_and_leaves_one_file(workspace: Workspace) -> None:
    made = projects.done(projects.create(workspace, "old", CHOSEN), "Started a run.", run="20260101-1")
    projects.save(workspace, made)
    renamed = projects.rename(workspace, "old", "new")
    assert projects.names(workspace) == ["new"]
    assert projects.load(workspace, "new") == renamed
    assert replace(renamed, name="old").runs == made.runs
    assert projects.rename(workspace, "new", "new") == renamed


def test_what_was_done_last_is_kept_with_its_time_and_runs_are_listed_once(workspace: Workspace) -> None:
    project = projects.create(workspace, "x")
    for _ in range(2):
        project = projects.done(project, "Started a run.", run="20260101-1")
    projects.save(workspace, project)
    opened = projects.load(workspace, "x")
    assert (opened.last_done, opened.runs) == ("Started a run.", ("20260101-1",))
    assert opened.last_done_at == project.last_done_at > 0


def test_a_file_of_a_newer_version_is_neither_opened_nor_overwritten(workspace: Workspace) -> None:
    path = projects.path_of(workspace, "x")
    path.write_text("format = 2\nsecret = 1\n", "utf-8")
    with pytest.raises(FileTooNewError):
        projects.load(workspace, "x")
    with pytest.raises(FileTooNewError):
        projects.save(workspace, Project(name="x"))
    assert "secret" in path.read_text("utf-8")


def test_repeats_of_single_folders_survive_saving_and_opening(workspace: Workspace, tmp_path: Path) -> None:
    odd, plain = tmp_path / "pets" / 'cats = "1" [x]', tmp_path / "pets" / "dogs"
    project = projects.with_value(Project(name="x"), "num_repeats", 3)
    project = projects.with_repeats(project, odd, 10)
    projects.save(workspace, project)
    opened = projects.load(workspace, "x")
    assert (opened.repeats_of(odd), opened.repeats_of(plain)) == (10, 3)
    assert opened == project


def test_repeats_that_make_no_sense_are_left_out(workspace: Workspace) -> None:
    rubbish = '[repeats]\nfolders = ["a/b", "a/c", "a/d"]\ntimes = [-1, 4]\n'
    projects.path_of(workspace, "x").write_text(rubbish, "utf-8")
    assert projects.load(workspace, "x").repeats == {"a/c": 4}


@pytest.mark.parametrize("data", [b"\xff", b"[[[", b"a = ", b""])
def test_a_damaged_file_is_told_in_plain_words_or_is_an_empty_project(
    workspace: Workspace, data: bytes
) -> None:
    path = projects.path_of(workspace, "x")
    path.write_bytes(data)
    if not data:
        assert projects.load(workspace, "x") == Project(name="x")
        return
    with pytest.raises(WorkspaceError) as caught:
        projects.load(workspace, "x")
    assert str(path) in caught.value.fix


def test_entries_of_odd_types_do_not_keep_a_project_from_opening(workspace: Workspace) -> None:
    projects.path_of(workspace, "x").write_text("settings = 3\nruns = 4\nlast_done_at = 'x'\n", "utf-8")
    assert projects.load(workspace, "x") == Project(name="x")


def test_a_missing_project_is_told(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError):
        projects.load(workspace, "none")


def test_a_run_of_one_folder_becomes_a_project_and_back() -> None:
    run = projects.run_of(Project(name="x", values={**CHOSEN, "seed": 7}))
    assert projects.values_of(run) == {**CHOSEN, "seed": 7}
    with pytest.raises(SettingsError):
        projects.values_of(a_run())
