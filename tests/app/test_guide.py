"""The four steps to a training: each screen empty and filled, what comes with a choice, the start."""

import dataclasses
import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import made_runs as made
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from lora_core import jobs, models, planning, projects, runs, settings
from lora_core.errors import Problem
from lora_core.jobs.states import SavedState
from lora_core.planning import Change, Fitting
from lora_core.settings import presets
from lora_core.workspace import Workspace
from ui import (
    guide_again,
    guide_files,
    guide_recipe,
    guide_steps,
    layout,
    project,
    settings_groups,
    settings_late,
    training_form,
)

Open = Callable[..., AppTest]
NAME = project.NEW
HEADER_OF_A_LORA = b"\x02\x00\x00\x00\x00\x00\x00\x00{}"


@pytest.fixture(autouse=True)
def known_machine(ws: Workspace) -> None:
    made.machine(ws)


@pytest.fixture
def step(open_page: Open) -> Callable[[guide_steps.Step], AppTest]:
    return lambda asked: open_page(layout.TRAINING, step=asked.id)


Step = Callable[[guide_steps.Step], AppTest]


def pictures(ws: Workspace, name: str, count: int) -> Path:
    folder = ws.datasets / name
    folder.mkdir(parents=True)
    for number in range(count):
        Image.new("RGB", (64, 64), (number, 90, 200)).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text("a shape")
    return folder


def widget(app: AppTest, key: str) -> Any:
    return app.get_by_key(f"run_{NAME}_{key}")


def kept(ws: Workspace) -> project.Project:
    return projects.load(ws, NAME)


def told(app: AppTest) -> str:
    kinds = ("markdown", "caption", "warning", "info", "error", "success")
    return " ".join(str(element.value) for kind in kinds for element in app.get(kind)).replace("\\", "")


def whole(app: AppTest) -> AppTest:
    app.run()
    assert not app.exception, app.exception[0].value
    return app


def ready(ws: Workspace, count: int = 6) -> project.Project:
    """A project in which all is chosen, on the base model that comes with the app."""
    folder = pictures(ws, "pets", count)
    bare = projects.with_values(
        projects.load_or_new(ws, NAME),
        {"pretrained_model_name_or_path": models.DEMO_BASE, "image_dir": folder},
    )
    aimed = guide_recipe.replace(bare, goal="concept")
    return project.save(ws, guide_recipe.chosen(ws, bare, aimed).project)


# --- the way through ------------------------------------------------------------------------------


def test_the_first_visit_shows_the_first_step_and_the_address_names_it(open_page: Open) -> None:
    app = open_page(layout.TRAINING)
    assert app.query_params["step"] in ("goal", ["goal"])
    assert [b.label for b in app.button if b.proto.type == "primary"] == ["Go on to the base model"]
    assert "Step 1 of 4" in told(app)


def test_each_screen_leads_to_the_next_and_back(step: Step) -> None:
    app = step(guide_steps.GOAL)
    for after in guide_steps.STEPS[1:]:
        app.button(key="guide_next").click().run()
        assert after.title in told(app)
    assert "guide_next" not in [b.key for b in app.button]
    for before in reversed(guide_steps.STEPS[:-1]):
        app.button(key="guide_back").click().run()
        assert f"{before.title}." in told(app)


@pytest.mark.parametrize("wanted", ["nothing such", "", "../x"])
def test_an_address_that_names_no_step_shows_the_first_open_one(open_page: Open, wanted: str) -> None:
    assert "Step 1 of 4" in told(open_page(layout.TRAINING, step=wanted))


def test_with_all_chosen_the_review_is_the_first_open_step(ws: Workspace, open_page: Open) -> None:
    ready(ws)
    assert "Step 4 of 4" in told(open_page(layout.TRAINING))


def test_a_run_is_shown_first_and_the_form_on_demand(ws: Workspace, open_page: Open) -> None:
    job = made.run(ws, "cat", "finished", steps=40)
    app = open_page(layout.TRAINING)
    assert app.selectbox(key="run_looked_at").value == job.id
    app.button(key="to_form").click().run()
    assert "Step 1 of 4" in told(app)
    app.button(key="guide_look").click().run()
    assert app.selectbox(key="run_looked_at").value == job.id


# --- goal, name, trigger word ---------------------------------------------------------------------


def test_a_goal_is_kept_and_can_be_taken_back(ws: Workspace, step: Step) -> None:
    app = step(guide_steps.GOAL)
    app.radio(key=f"goal_{NAME}").set_value("character").run()
    assert kept(ws).goal == "character"
    whole(app).button(key="undo_setting").click().run()
    assert kept(ws).goal == ""
    assert whole(app).radio(key=f"goal_{NAME}").value is None


def test_the_trigger_word_follows_the_name_until_it_is_changed(ws: Workspace, step: Step) -> None:
    app = step(guide_steps.GOAL)
    widget(app, "output_name").set_value("Blip the Cat").run()
    assert kept(ws).trigger_word == "blipthecat"
    assert "It was made from the name." in told(app)
    widget(app, "output_name").set_value("Blop").run()
    assert kept(ws).trigger_word == "blop"
    widget(app, "metadata_trigger_phrase").set_value("zork").run()
    widget(app, "output_name").set_value("Blup").run()
    assert kept(ws).trigger_word == "zork"


def test_a_style_gets_no_trigger_word_by_itself(ws: Workspace, step: Step) -> None:
    app = step(guide_steps.GOAL)
    app.radio(key=f"goal_{NAME}").set_value("style").run()
    widget(app, "output_name").set_value("Ink").run()
    assert kept(ws).trigger_word is None


# --- base model -----------------------------------------------------------------------------------


def test_a_name_that_no_file_can_have_is_told_at_its_field_and_mended(ws: Workspace, step: Step) -> None:
    app = step(guide_steps.GOAL)
    widget(app, "output_name").set_value("a/b *c*").run()
    whole(app)
    assert "cannot be used for a file on every system." in told(app)
    next(b for b in app.button if b.label.startswith("Call it")).click().run()
    assert kept(ws).value("output_name") == "a_b _c"
    assert "cannot be used for a file" not in told(whole(app))


def test_advice_about_the_value_before_goes_when_a_text_does_not_fit(
    ws: Workspace, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = projects.with_text(ready(ws), "network_dim", "4.5x")
    project.save(ws, opened)
    advice = [Problem(setting=s, what=f"About {s}.", fix="") for s in ("network_dim", "learning_rate")]
    monkeypatch.setattr(planning, "check", lambda *_args, **_kwargs: advice)
    says = told(step(guide_steps.REVIEW))
    assert "About network_dim." not in says
    assert "About learning_rate." in says
    assert f"the value before: {opened.value('network_dim')}." in says


def test_without_a_choice_the_screen_names_what_one_could_get(step: Step) -> None:
    app = step(guide_steps.MODEL)
    assert "Licence" in told(app)
    assert any("https://" in code.value for code in app.code)


def test_a_base_model_brings_its_recipe_once_and_says_so(ws: Workspace, step: Step) -> None:
    step(guide_steps.GOAL).radio(key=f"goal_{NAME}").set_value("concept").run()
    app = step(guide_steps.MODEL)
    widget(app, "pretrained_model_name_or_path").set_value(models.DEMO_BASE).run()
    after = kept(ws)
    assert (after.preset, after.value("resolution")) == ("demo", [64, 64])
    assert "The recipe “Demo” was put in. It changed" in told(app)
    app.button(key="undo_setting").click().run()
    assert kept(ws).preset == ""
    assert kept(ws).base_model == models.DEMO_BASE


def test_a_path_that_is_no_model_is_told_and_not_chosen(ws: Workspace, step: Step, tmp_path: Path) -> None:
    wrong = tmp_path / "x.ckpt"
    wrong.write_bytes(b"1")
    app = step(guide_steps.MODEL)
    for text in (str(wrong), "nothing/here", "\0", "~nobody/x"):
        app.text_input(key="guide_model_path").set_value(text).run()
        assert len(app.error) == 1, text
    app.text_input(key="guide_model_path").set_value(f'"{models.DEMO_BASE}"').run()
    assert kept(ws).base_model == models.DEMO_BASE
    assert not app.error


# --- what comes with a recipe ---------------------------------------------------------------------


def recipe(**values: Any) -> guide_recipe.Recipe:
    return guide_recipe.Recipe(id="sdxl.style", title="Style", values=values)


def test_what_a_person_set_stays_when_another_recipe_comes() -> None:
    start = projects.with_preset(project.Project(name="x"), recipe(network_dim=16, learning_rate=1e-4))
    mine = projects.with_value(start, "network_dim", 24)
    found = guide_recipe.laid(mine, recipe(network_dim=32, learning_rate=3e-4))
    assert (found.project.value("network_dim"), found.project.value("learning_rate")) == (24, 3e-4)
    assert "Your own 1 setting stayed: Rank" in found.sentence
    assert projects.changed_from_preset(found.project) == ["network_dim"]


def test_prompts_and_repeats_follow_until_they_are_changed(ws: Workspace) -> None:
    first = ready(ws)
    prompts = first.value("sample_prompts")
    assert len(prompts) == 4
    named = guide_recipe.follow(first, projects.with_value(first, "metadata_trigger_phrase", "zork"))
    assert sum("zork" in prompt for prompt in named.value("sample_prompts")) == 3
    own = projects.with_value(named, "sample_prompts", ("mine",))
    later = guide_recipe.follow(own, projects.with_value(own, "metadata_trigger_phrase", "other"))
    assert later.value("sample_prompts") == ("mine",)


def test_a_recipe_of_ones_own_does_not_give_way_to_other_pictures(ws: Workspace) -> None:
    first = ready(ws)
    own = projects.with_preset(
        first, guide_recipe.Recipe(id="own.mine", title="mine", values={"network_dim": 3})
    )
    folder = pictures(ws, "more", 9)
    moved = guide_recipe.chosen(ws, own, projects.with_value(own, "image_dir", folder))
    assert (moved.project.preset, moved.project.value("network_dim")) == ("own.mine", 3)


# --- dataset --------------------------------------------------------------------------------------


def test_without_a_dataset_the_screen_leads_to_bringing_pictures_in(step: Step) -> None:
    app = step(guide_steps.DATASET)
    assert [b.label for b in app.button if b.proto.type == "primary"] == ["Bring pictures in"]
    assert "There is no dataset yet." in told(app)
    assert "Bring pictures in" in [b.label for b in app.button]


def test_a_dataset_that_was_just_looked_at_is_chosen(ws: Workspace, open_page: Open) -> None:
    folder = pictures(ws, "pets", 4)
    app = open_page(layout.TRAINING, step="dataset", dataset="pets")
    assert kept(ws).dataset == folder
    assert "It has 4 pictures." in told(app)


@pytest.mark.parametrize("name", ["../..", "nothing", ""])
def test_an_address_cannot_choose_what_is_no_dataset(ws: Workspace, open_page: Open, name: str) -> None:
    pictures(ws, "pets", 4)
    open_page(layout.TRAINING, step="dataset", dataset=name)
    assert not projects.names(ws)


# --- review ---------------------------------------------------------------------------------------


def test_the_empty_review_names_what_is_missing_and_leads_there(step: Step) -> None:
    app = step(guide_steps.REVIEW)
    assert "No base model is chosen." in told(app)
    app.button(key="lead_image_dir").click().run()
    assert "Step 3 of 4" in told(app)


def test_the_review_tells_length_needs_engine_and_rate(ws: Workspace, step: Step) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    said = told(app)
    for part in ("This training takes 700 steps", "Memory: fits", "Disk:", "Time:", "built-in trainer"):
        assert part in said
    (chart,) = app.get("plotly_chart")
    assert chart.proto.alt in said
    assert "The learning rate rises to 0.0019" in chart.proto.alt


def test_the_trainer_can_be_changed_and_the_form_the_files_and_the_start_follow(
    ws: Workspace, step: Step
) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    app.session_state["engine_view"] = True
    assert "python -m lora_core train" in " ".join(code.value for code in whole(app).code)
    app.selectbox(key=f"engine_choice_{NAME}").set_value(settings.SD_SCRIPTS).run()
    app = whole(app)
    assert kept(ws).engine == settings.SD_SCRIPTS
    assert "train_network.py" in " ".join(code.value for code in app.code)
    assert "The trainer is sd-scripts, another program. You chose it." in told(app)
    app.button(key="start").click().run()
    assert "This app cannot start sd-scripts." in told(app)
    assert jobs.jobs(ws) == []
    whole(app).button(key="undo_setting").click().run()
    assert kept(ws).engine == settings.BUILT_IN
    assert "The built-in trainer will do the training." in told(whole(app))


@pytest.mark.parametrize("engine", [settings.BUILT_IN, settings.SD_SCRIPTS])
def test_the_form_shows_the_settings_of_the_chosen_trainer(ws: Workspace, step: Step, engine: str) -> None:
    project.save(ws, dataclasses.replace(ready(ws), engine=engine))
    app = step(guide_steps.REVIEW)
    app.session_state["all_settings"] = True
    for concern in settings_groups.GROUPS:
        app.session_state[f"group_{concern}"] = True
    app = whole(app)
    shown = settings_groups.shown_now(kept(ws), "sd15")
    assert {s.key for s in shown if engine not in s.engines} == set()
    for setting in shown:
        assert widget(app, setting.key) is not None, setting.key


def test_an_unusual_value_is_told_where_a_person_chose_it_and_not_where_the_recipe_has_it(
    ws: Workspace, step: Step
) -> None:
    recipe = project.save(ws, dataclasses.replace(ready(ws), preset_values={"learning_rate": 0.5}))
    project.save(ws, projects.with_value(recipe, "learning_rate", 0.5))
    assert "Learning rate is 0.5." not in told(step(guide_steps.REVIEW))
    project.save(ws, projects.with_value(kept(ws), "learning_rate", 0.6))
    assert "Learning rate is 0.6." in told(step(guide_steps.REVIEW))


def test_the_chart_of_the_rate_is_drawn_again_only_where_a_change_can_reach_it(
    ws: Workspace, step: Step
) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    app.session_state["all_settings"] = True
    for concern in ("network", "schedule"):
        app.session_state[f"group_{concern}"] = True
    widget(whole(app), "network_dim").set_value("7").run()
    assert not app.get("plotly_chart")
    widget(whole(app), "max_train_steps").set_value("77").run()
    assert "after 77 steps" in app.get("plotly_chart")[0].proto.alt


def test_one_button_mends_a_problem(ws: Workspace, step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    ready(ws)
    problem = Problem(
        setting="network_dim", what="The rank is odd.", fix="Take 8.", mend={"network_dim": 8},
        mend_label="Set *rank* to 8",
    )  # fmt: skip
    monkeypatch.setattr(planning, "check", lambda *_args, **_kwargs: [problem])
    app = step(guide_steps.REVIEW)
    next(b for b in app.button if b.label == r"Set \*rank\* to 8").click().run()
    assert kept(ws).value("network_dim") == 8
    assert projects.can_undo(ws, NAME).what == "Set *rank* to 8."  # type: ignore[union-attr]  # it is there


def test_make_it_fit_shows_its_changes_and_applies_them_at_once(
    ws: Workspace, step: Step, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = ready(ws)
    estimate = training_form.look(ws, opened).estimate
    assert estimate is not None
    too_much = planning.Line(kind="memory", verdict="will not fit", sentence="Too much.", basis="counted")
    poor = planning.Estimate(plan=estimate.plan, files=None, memory=None, seconds=None, card=(too_much,))
    monkeypatch.setattr(planning, "estimate", lambda *_args, **_kwargs: poor)
    change = Change("batch_size", 4, 1, "It is slower.")
    monkeypatch.setattr(
        planning, "fitting", lambda *_args: Fitting((change,), True, "With 1 change it fits.")
    )
    app = step(guide_steps.REVIEW)
    assert "Batch size: 1, before 4. It is slower." in told(app)
    app.button(key="guide_fit").click().run()
    assert kept(ws).value("batch_size") == 1


@pytest.fixture
def no_runner(ws: Workspace) -> Iterator[None]:
    """What is started stays in the queue: a page that shows the queue would start a runner for it."""
    with made.no_runner(ws):
        yield


@pytest.mark.usefixtures("no_runner")
def test_two_steps_are_tried_as_a_job(ws: Workspace, step: Step) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    app.button(key="guide_smoke").click().run()
    (job,) = jobs.jobs(ws, kind="smoke")
    assert job.project == NAME
    assert "0 of 2 steps done" in " ".join(bar.proto.text for bar in whole(app).get("progress"))
    assert "guide_smoke" not in [b.key for b in app.button]


@pytest.mark.usefixtures("no_runner")
def test_start_starts_the_run_and_shows_it(ws: Workspace, step: Step) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    app.button(key="start").click().run()
    (job,) = jobs.jobs(ws, kind="train")
    assert app.selectbox(key="run_looked_at").value == job.id
    assert settings.run_files(runs.settings_of(job)) == settings.run_files(project.run_of(kept(ws)))


def test_a_missing_trigger_word_is_told_where_the_goal_needs_one(ws: Workspace, step: Step) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    assert "The goal Concept needs one." in told(app)
    app.button(key="lead_metadata_trigger_phrase").click().run()
    assert "Step 1 of 4" in told(app)


def test_a_beginner_sees_few_controls_on_each_screen(ws: Workspace, step: Step) -> None:
    ready(ws)
    kinds = ("button", "text_input", "text_area", "selectbox", "radio", "checkbox", "expander")
    for screen in guide_steps.STEPS:
        app = step(screen)
        found = [element for kind in kinds for element in app.main if element.type == kind] or [
            element for kind in kinds for element in app.get(kind)
        ]
        found = [one for one in found if getattr(one, "key", "") != settings_late.KEY]  # nobody sees it
        assert len(found) <= 10, (screen.id, [getattr(e, "label", None) or e.proto for e in found])


# --- recipes as files -----------------------------------------------------------------------------


def test_a_recipe_goes_out_and_comes_in_the_same(ws: Workspace) -> None:
    first = projects.with_values(ready(ws), {"network_dim": 7, "learning_rate": 0.00031, "seed": 99})
    run = project.run_of(first)
    text = runs.export_recipe(runs.recipe_of(run), title="x", other=run.other)
    found = guide_files.read([("x.recipe.toml", io.BytesIO(text.encode()))])
    assert not found.not_understood
    guide_files._apply(ws, "other", found)
    again = projects.load(ws, "other")
    draft = projects.draft_of(again)
    assert runs.export_recipe(runs.recipe_of(draft), title="x", other=draft.other) == text
    assert projects.changed_from_preset(again) == []


def test_the_whole_run_becomes_a_zip_while_the_page_goes_on(ws: Workspace, step: Step) -> None:
    ready(ws)
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.session_state["guide_files_what"] = guide_files.TAKE
    app.run()
    app.button(key="guide_zip_make").click().run()
    (job,) = jobs.jobs(ws, kind=runs.EXPORT)
    ends = time.monotonic() + 60
    while not jobs.status(ws, job.id).ended and time.monotonic() < ends:
        time.sleep(0.05)
    assert jobs.status(ws, job.id).state == "finished"
    assert "A zip with" in told(whole(app))
    (made_zip,) = (ws.root / "exports").iterdir()
    assert str(made_zip) in [code.value for code in app.code]
    with zipfile.ZipFile(made_zip) as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 6


def test_a_report_of_three_columns_stands_before_anything_is_changed(ws: Workspace, step: Step) -> None:
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.run()
    text = b'network_dim = 12\nlearning_rate = 1e-4\nxformers = true\nwhat_is_this = 3\nvae = "x"\n'
    app.file_uploader[0].upload("their.toml", text).run()
    titles = [one.value for one in app.subheader]
    assert [title.partition(":")[0] for title in titles] == [
        "Taken as it is",
        "Taken with a change",
        "Not taken",
    ]
    assert "network_dim: 12" in told(app)
    assert "what_is_this" in told(app)
    assert f"vae: x. {guide_files.STAYS}" in told(app)
    assert not projects.names(ws)
    app.button(key="guide_import_apply").click().run()
    assert kept(ws).value("network_dim") == 12


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"{" * 5000, b"[[[[", HEADER_OF_A_LORA])
def test_rubbish_is_answered_and_changes_nothing(ws: Workspace, step: Step, data: bytes) -> None:
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.run()
    app.file_uploader[0].upload("x.json", data).run()
    assert not app.exception
    assert app.error
    assert not projects.names(ws)


@pytest.mark.parametrize("data", [b"", b"no zip", HEADER_OF_A_LORA])
@pytest.mark.parametrize("name", ["x.zip", "x.safetensors"])
def test_a_zip_or_lora_that_is_damaged_is_answered_too(
    ws: Workspace, step: Step, name: str, data: bytes
) -> None:
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.run()
    app.file_uploader[0].upload(name, data).run()
    assert not app.exception
    assert app.error
    assert not projects.names(ws)


def test_the_notes_in_a_lora_file_become_the_recipe(ws: Workspace, step: Step) -> None:
    path = made.lora(ws, "theirs", rank=6)
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.run()
    app.file_uploader[0].upload(path.name, path.read_bytes()).run()
    assert not app.error
    assert "theirs.safetensors holds the notes inside a LoRA file." in told(app)
    app.button(key="guide_import_apply").click().run()
    assert (kept(ws).value("network_dim"), kept(ws).value("network_alpha")) == (6, 6.0)


def test_presets_are_kept_used_renamed_taken_away_and_brought_back(ws: Workspace, step: Step) -> None:
    project.save(ws, projects.with_value(ready(ws), "network_dim", 9))
    app = step(guide_steps.REVIEW)
    app.session_state["guide_files"] = True
    app.session_state["guide_files_what"] = guide_files.OWN
    app.run()
    app.text_input(key="guide_preset_name").set_value("Mine").run()
    app.button(key="guide_preset_save").click().run()
    assert [one.name for one in presets.list_own(ws)] == ["Mine"]
    project.save(ws, projects.with_value(kept(ws), "network_dim", 4))
    app.button(key="guide_preset_use").click().run()
    assert (kept(ws).value("network_dim"), kept(ws).preset) == (9, "own.Mine")
    app.text_input(key="guide_preset_rename").set_value("Yours").run()
    assert [one.name for one in presets.list_own(ws)] == ["Yours"]
    app.button(key="guide_preset_delete").click().run()
    assert presets.list_own(ws) == []
    app.button(key="guide_preset_restore").click().run()
    assert [one.name for one in presets.list_own(ws)] == ["Yours"]


# --- again and longer -----------------------------------------------------------------------------


@pytest.mark.usefixtures("no_runner")
def test_the_settings_of_a_run_come_back_into_the_form(ws: Workspace, open_page: Open) -> None:
    opened = ready(ws)
    job = runs.start_run(ws, project.run_of(opened), project=NAME)
    jobs.stop(ws, job.id)
    project.save(ws, projects.with_value(kept(ws), "network_dim", 5))
    app = open_page(layout.TRAINING, run=job.id)
    app.button(key="train_again").click().run()
    assert "Step 4 of 4" in told(app)
    assert settings.run_files(project.run_of(kept(ws))) == settings.run_files(runs.settings_of(job))


def test_training_longer_tells_what_happens_to_the_rate(ws: Workspace, tmp_path: Path) -> None:
    run = project.run_of(ready(ws))
    plan = planning.plan(run)
    assert plan is not None
    saved = SavedState(name="x", path=tmp_path, step=700, epoch=0, saved_at=0.0)
    found = guide_again.longer(run, saved, 3)
    assert found.run.saving.resume == tmp_path
    after = planning.plan(found.run)
    assert after is not None
    assert after.steps == 700 + 3 * plan.steps_per_epoch
    assert "It goes on at step 700" in found.sentence
    assert "Its course is laid over the new length." in found.sentence
