"""All settings: what is typed reaches the project, the files and the engine, stays as typed, can be undone.

The form is drawn by a script of its own, so that these tests hold wherever a page puts it.
"""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from test_settings import another_value

from lora_core import projects, settings
from lora_core.projects import Project
from lora_core.projects.record import plain
from lora_core.settings import Setting
from lora_core.settings._owners import ANY_OTHER
from lora_core.workspace import APP_ROOT, Workspace
from ui import settings_groups, settings_late, settings_words

NAME = "x"
ENGINE = settings.BUILT_IN
ON_DISK = {"pretrained_model_name_or_path": Path("/models/base"), "image_dir": Path("/pictures")}
EDITED = [
    s
    for s in settings.catalogue()
    if ENGINE in s.engines
    and s.key not in settings_groups.ON_TOP
    and s.key not in settings_groups.BY_THE_APP
    and len(s.choices_for(ENGINE)) != 1
]


def script() -> None:
    import streamlit as st

    from lora_core.errors import Problem
    from lora_core.projects import Project
    from lora_core.workspace import Workspace
    from ui import engine_view, recipe_text, settings_form

    def check(opened: Project) -> list[Problem]:
        if not st.session_state.get("problem") or opened.value("network_dim") != 32:
            return []
        mend = {"mend": {"network_dim": 8}, "mend_label": "Set the rank to 8"}
        return [Problem(setting="network_dim", what="It is too high.", fix="Lower it.", **mend)]

    ws = Workspace.open()
    settings_form.history(ws, "x")
    settings_form.draw(ws, "x", check=check)
    engine_view.draw(ws, "x")
    recipe_text.draw(ws, "x")
    settings_form.summary(lambda: None)


def opened(*concerns: str, **state: Any) -> AppTest:
    """The form with these groups open, as a new tab would see it."""
    app = AppTest.from_function(script, default_timeout=300)
    app.session_state["all_settings"] = True
    for concern in concerns:
        app.session_state[f"group_{concern}"] = True
    for key, value in state.items():
        app.session_state[key] = value
    return sound(app.run())


def sound(app: AppTest) -> AppTest:
    assert not app.exception, app.exception[0].value
    return app


def whole(app: AppTest) -> AppTest:
    """The whole page again: after a change, the test tool sees only the parts that were drawn again."""
    return sound(app.run())


def field(app: AppTest, key: str) -> Any:
    return app.get_by_key(f"run_{NAME}_{key}")


def put(app: AppTest, key: str, value: Any) -> AppTest:
    field(app, key).set_value(value).run()
    return whole(app)


def another(s: Setting) -> Any:
    """Another value than the starting one, that this engine takes and that an engine can tell apart."""
    if choices := s.choices_for(ENGINE):
        return next(choice for choice in reversed(choices) if choice != s.default)
    if s.suggestions:
        return s.suggestions[-1]
    return plain(another_value(s))


def batches() -> Iterator[tuple[str, dict[str, Any], list[Setting]]]:
    """Settings of one group that can be changed beside each other, with what they need to act."""
    found: dict[tuple[str, str], tuple[dict[str, Any], list[Setting]]] = {}
    for s in EDITED:
        needs = {key: next(value for value in values if value != ANY_OTHER) for key, values in s.only.items()}
        found.setdefault((s.concern, repr(needs)), (needs, []))[1].append(s)
    for (concern, _), (needs, members) in found.items():
        yield concern, needs, members


BATCHES = list(batches())


def through_the_form(ws: Workspace, concern: str, needs: dict[str, Any], members: list[Setting]) -> None:
    """Change each of these settings in its field."""
    projects.create(ws, NAME, {**ON_DISK, **needs})
    app = opened(concern)
    # A setting that owns others goes last: they are there until it changes.
    owners = {key for s in settings.catalogue() for key in s.only}
    for s in sorted(members, key=lambda s: s.key in owners):
        entry = another(s)
        chosen = s.kind in {"flag", "choice"} or s.choices_for(ENGINE)
        field(app, s.key).set_value(entry if chosen else settings_words.shown(entry))
    sound(app.run())


@pytest.mark.parametrize(
    ("concern", "needs", "members"),
    BATCHES,
    ids=[f"{c}-{'-'.join(map(str, n.values()))}" for c, n, _ in BATCHES],
)
def test_each_changed_value_is_in_the_project_and_in_the_engines_files(
    ws: Workspace, concern: str, needs: dict[str, Any], members: list[Setting]
) -> None:
    through_the_form(ws, concern, needs, members)
    wanted = {s.key: another(s) for s in members}
    kept = projects.load(ws, NAME)
    lost = {
        key: kept.value(key)
        for key, value in wanted.items()
        if not projects.same_value(kept.value(key), value)
    }
    assert lost == {}
    run = projects.run_of(kept)
    files = tomllib.loads(settings.dump_config(run)), tomllib.loads(settings.dump_dataset(run))
    for s in members:
        assert in_files(s, *files) == as_written(s, wanted[s.key]), s.key


def in_files(s: Setting, config: Mapping[str, Any], dataset: Mapping[str, Any]) -> Any:
    """What the engine's files hold at the place of this setting."""
    if s.place == "argument":
        return config[s.key]
    if s.place == "dataset":
        return dataset["datasets"][0][s.key]
    if s.place == "subset":
        return dataset["datasets"][0]["subsets"][0][s.key]
    return next(text for text in config[s.place] if text.startswith(f"{s.key}="))


def as_written(s: Setting, value: Any) -> Any:
    if s.place in {"argument", "dataset", "subset"}:
        return value
    value = tuple(value) if isinstance(value, list) else value
    return f"{s.key}={value if s.place == 'network_args' else repr(value)}"


def parsed(configs: list[Path]) -> list[dict[str, Any]]:
    """What one process of the engine makes of these files."""
    command = [sys.executable, "-m", "lora_core.engines.diffusers", *map(str, configs), "--show-settings"]
    ended = subprocess.run(
        command,
        cwd=APP_ROOT,
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        check=False,
        timeout=300,
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return [json.loads(line) for line in ended.stdout.decode().splitlines()]


@pytest.mark.timeout(900)
def test_each_value_that_is_put_into_the_form_is_what_the_engines_process_has_parsed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = []
    for number, (concern, needs, members) in enumerate(BATCHES):
        monkeypatch.setenv("LORA_WORKSPACE", str(tmp_path / f"workspace{number}"))
        ws = Workspace.open()
        through_the_form(ws, concern, needs, members)
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        for name, text in settings.run_files(projects.run_of(projects.load(ws, NAME))).items():
            (folder / name).write_text(text, "utf-8")
        configs.append(folder / settings.CONFIG_NAME)
    arrived, asked = {}, {}
    for (_, _, members), found in zip(BATCHES, parsed(configs), strict=True):
        (dataset,) = found["datasets"]
        (subset,) = dataset["subsets"]
        places = {"dataset": dataset, "subset": subset}
        for s in members:
            arrived[s.key] = places.get(s.place, found)[s.key]
            asked[s.key] = json.loads(json.dumps(another(s), default=str))
    assert len(asked) > 90
    assert arrived == asked
    assert {key: type(value) for key, value in arrived.items()} == {
        key: type(value) for key, value in asked.items()
    }, "10 steps and a share of 10.0 are not the same"


def test_every_setting_that_can_act_now_has_a_field(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened(*settings_groups.GROUPS)
    shown = {s.key for s in settings_groups.shown_now(Project(name=NAME), None)}
    assert len(shown) > 80
    assert [key for key in sorted(shown) if f"run_{NAME}_{key}" not in app.session_state] == []


def test_choosing_an_optimizer_shows_what_it_owns_and_sets_what_it_needs(ws: Workspace) -> None:
    projects.create(ws, NAME, {"learning_rate": 5e-4})
    app = put(opened("optimizer"), "optimizer_type", "Prodigy")
    assert projects.load(ws, NAME).value("learning_rate") == 1.0
    assert field(app, "learning_rate").value == "1"
    assert field(app, "d_coef") is not None
    assert any("finds the rate by itself" in element.value for element in app.caption)
    app.button(key="undo_setting").click().run()
    assert projects.load(ws, NAME).values == {"learning_rate": 5e-4}


def test_a_setting_that_does_nothing_says_why_or_is_found_with_the_reason(ws: Workspace) -> None:
    projects.create(ws, NAME, {"optimizer_type": "AdamWScheduleFree"})
    app = opened("schedule")
    assert any("It does nothing now." in element.value for element in app.caption)
    searched = opened(settings_search="d_coef")
    assert any("is not shown" in caption.value for caption in searched.caption)


def test_what_the_base_model_ignores_has_a_field_with_the_reason_while_it_is_in_the_files(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.settings_form.family_of", lambda _: "sdxl")
    ignored = [s for s in EDITED if "sdxl" not in s.families]
    assert "clip_skip" in {s.key for s in ignored}
    for s in ignored:
        bare = Project(name=NAME)
        assert s not in settings_groups.shown_now(bare, "sdxl")
        assert s in settings_groups.shown_now(projects.with_value(bare, s.key, another(s)), "sdxl")
    projects.create(ws, NAME, {**ON_DISK, "clip_skip": 2})
    app = opened("text")
    assert field(app, "clip_skip").value == "2"
    assert any("It does nothing now.** SDXL always" in element.value for element in app.caption)
    assert "clip_skip = 2" in settings.dump_config(projects.run_of(projects.load(ws, NAME)))
    app.button(key="back_clip_skip").click().run()
    assert "clip_skip" not in settings.dump_config(projects.run_of(projects.load(ws, NAME)))
    with pytest.raises(KeyError):
        field(whole(app), "clip_skip")


def test_a_text_whose_field_went_is_understood_and_nothing_else_is(tmp_path: Path) -> None:
    made = Project(name="näme x", values={"image_dir": str(tmp_path)})
    sent = [
        ["st-key-run_n-me-x_network_dim", "41"],
        ["st-key-run_other_network_dim", "7"],
        ["x", "$(reboot)"],
    ]
    found = settings_late.understood(made, json.dumps(sent))
    assert [(s.key, folder, text) for s, folder, text in found] == [("network_dim", None, "41")]
    for rubbish in ("", "[", "[" * 5000, "7", '{"a": 1}', "[[1]]", "null"):
        assert settings_late.understood(made, rubbish) == []


def test_every_setting_has_a_group() -> None:
    assert {s.concern for s in settings.catalogue()} <= set(settings_groups.GROUPS)


def test_a_closed_group_is_not_built(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened("network")
    assert field(app, "network_dim").value == "16"
    assert "run_x_learning_rate" not in app.session_state


@pytest.mark.parametrize("typed", ["1e-4", "0.00012345678901234567", " 3E-5 ", "0,0002", "1e-320"])
def test_a_number_is_kept_as_typed_and_means_exactly_what_was_typed(ws: Workspace, typed: str) -> None:
    projects.create(ws, NAME)
    put(opened("optimizer"), "learning_rate", typed)
    assert projects.load(ws, NAME).value("learning_rate") == float(typed.replace(",", "."))
    assert field(opened("optimizer"), "learning_rate").value == typed


@pytest.mark.parametrize("rubbish", ["many", "-3", "9" * 400, "1e999", "$(reboot)", "__import__('os')"])
def test_a_text_that_does_not_fit_is_kept_told_and_does_not_count(ws: Workspace, rubbish: str) -> None:
    projects.create(ws, NAME)
    app = put(opened("network"), "network_dim", rubbish)
    assert any("Rank does not fit" in str(error.proto.title) or error.value for error in app.error)
    assert projects.load(ws, NAME).value("network_dim") == 16
    assert field(opened("network"), "network_dim").value == rubbish
    emptied = put(app, "network_dim", "")
    assert not emptied.error


def test_what_another_window_changes_is_shown_and_both_keep_their_own(ws: Workspace) -> None:
    projects.create(ws, NAME)
    one, two = opened("network"), opened("network")
    put(one, "network_dim", "32")
    put(two, "network_alpha", "4")
    kept = projects.load(ws, NAME)
    assert (kept.value("network_dim"), kept.value("network_alpha")) == (32, 4.0)
    assert field(whole(one), "network_alpha").value == "4"


def test_after_a_change_the_browser_is_told_what_was_saved(ws: Workspace) -> None:
    # An older answer may reach it behind what was typed; it would send that one back as typed by somebody.
    projects.create(ws, NAME)
    app = opened("network")
    field(app, "network_dim").set_value("32").run()
    proto = field(app, "network_dim").proto
    assert (proto.set_value, proto.value) == (True, "32")


def test_an_answer_that_comes_while_one_types_does_not_replace_the_text(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened("network")
    assert all(one.proto.HasField("live_debounce_ms") for one in app.text_input if one.key.startswith("run_"))


def test_fields_and_groups_keep_their_places_when_others_go(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app, moved = opened(settings_search="dropout"), opened(settings_search="rank_dropout")

    def place(at: AppTest, element: Any, path: tuple[int, ...] = ()) -> tuple[int, ...] | None:
        for number, child in getattr(element, "children", {}).items():
            if getattr(child, "key", None) == f"run_{NAME}_rank_dropout":
                return (*path, number)
            if found := place(at, child, (*path, number)):
                return found
        return None

    assert place(app, app.main) == place(moved, moved.main) is not None


def test_undo_and_redo_reach_the_fields_and_say_what_they_do(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = put(opened("network"), "network_dim", "32")
    assert any("Rank changed from 16 to 32" in caption.value for caption in app.caption)
    app.button(key="undo_setting").click().run()
    assert field(whole(app), "network_dim").value == "16"
    app.button(key="redo_setting").click().run()
    assert field(whole(app), "network_dim").value == "32"


def test_a_changed_setting_says_so_and_can_be_put_back_alone_or_with_its_group(ws: Workspace) -> None:
    projects.create(ws, NAME)
    put(opened("network"), "network_dim", "32")
    app = put(opened("network"), "network_alpha", "4")
    assert any("**Changed.** The start value is 16." in element.value for element in app.caption)
    app.button(key="back_network_dim").click().run()
    assert projects.load(ws, NAME).values == {"network_alpha": 4.0}
    app = put(whole(app), "network_dim", "32")
    app.button(key="back_all_network").click().run()
    assert projects.load(ws, NAME).values == {}


def test_a_setting_that_no_preset_has_can_be_put_back_too(ws: Workspace) -> None:
    projects.create(ws, NAME)
    made = Project(name=NAME, values={"class_tokens": "cat"}, preset="sdxl.style")
    projects.save(ws, made)
    app = opened("subsets")
    assert any("**Changed.** It starts empty." in caption.value for caption in app.caption)
    app.button(key="back_class_tokens").click().run()
    assert projects.load(ws, NAME).values == {}


def test_a_problem_stands_at_its_field_with_the_button_that_ends_it(ws: Workspace) -> None:
    projects.create(ws, NAME, {"network_dim": 32})
    app = opened("network", problem=True)
    assert any("It is too high." in caption.value for caption in app.caption)
    app.button(key="mend_network_dim_0").click().run()
    assert projects.load(ws, NAME).value("network_dim") == 8
    step = projects.can_undo(ws, NAME)
    assert step is not None
    assert step.what == "Set the rank to 8."


def test_the_search_opens_the_groups_with_hits_and_finds_keys_labels_and_help(ws: Workspace) -> None:
    projects.create(ws, NAME)
    for search, key in (
        ("min_snr", "min_snr_gamma"),
        ("min snr", "min_snr_gamma"),
        ("Learning rate", "unet_lr"),
    ):
        app = opened(settings_search=search)
        assert f"run_{NAME}_{key}" in app.session_state, search
        assert f"run_{NAME}_save_state" not in app.session_state
    nothing = opened(settings_search="no such thing at all")
    assert any(element.value == "No setting was found." for element in nothing.markdown)


def test_the_filters_show_less_and_never_hide_what_was_changed(ws: Workspace) -> None:
    projects.create(ws, NAME, {"rank_dropout": 0.25})
    basic = opened("network", settings_level="basic")
    shown = {s.key for s in EDITED if f"run_{NAME}_{s.key}" in basic.session_state}
    assert {"network_dim", "rank_dropout"} <= shown
    assert "module_dropout" not in shown
    changed = opened(settings_changed=True)
    assert {s.key for s in EDITED if f"run_{NAME}_{s.key}" in changed.session_state} == {"rank_dropout"}


def test_each_field_has_its_help_behind_a_line_that_opens_in_place(ws: Workspace) -> None:
    projects.create(ws, NAME)
    texts = [element.proto.body for element in opened("network").get("html")]
    for key in ("network_dim", "network_alpha"):
        setting = settings.setting(key)
        (text,) = (text for text in texts if f"More about “{setting.label}”" in text)
        shown, _, behind = unescape(text).partition("<details>")
        assert setting.what in shown
        assert setting.why not in shown
        assert setting.why in behind


def test_help_is_text_and_never_markup() -> None:
    odd = replace(settings.setting("network_dim"), what="<img src=x onerror=alert(1)>", why="a < b & c")
    text = settings_words.help_of(odd)
    assert "<img" not in text
    assert "a &lt; b &amp; c" in text


def test_the_files_that_the_engine_gets_are_shown_with_the_differences_in_words(ws: Workspace) -> None:
    projects.create(ws, NAME, {**ON_DISK, "network_dim": 32})
    app = opened(engine_view=True)
    files = settings.run_files(projects.run_of(projects.load(ws, NAME)))
    codes = [code.value for code in app.code]
    assert all(text.strip() in codes for text in files.values())
    assert any("Rank: 32. Before: 16." in element.value.replace("\\", "") for element in app.markdown)


def test_the_text_of_the_files_and_the_form_follow_each_other(ws: Workspace) -> None:
    projects.create(ws, NAME, ON_DISK)
    app = opened("network", recipe_text=True)
    text = app.text_area(key="recipe_text_config").value
    assert "network_dim = 16" in text
    app.text_area(key="recipe_text_config").set_value(
        text.replace("network_dim = 16", "network_dim = 48")
    ).run()
    app.button(key="recipe_text_apply").click().run()
    assert field(whole(app), "network_dim").value == "48"
    assert projects.load(ws, NAME).values == {**{k: str(v) for k, v in ON_DISK.items()}, "network_dim": 48}
    app = put(app, "network_alpha", "4")
    assert "network_alpha = 4.0" in app.text_area(key="recipe_text_config").value
    projects.undo(ws, NAME)
    projects.undo(ws, NAME)
    assert projects.load(ws, NAME).value("network_dim") == 16


def test_a_text_with_problems_changes_nothing_and_tells_all_of_them(ws: Workspace) -> None:
    projects.create(ws, NAME, ON_DISK)
    app = opened(recipe_text=True)
    config, dataset = (app.text_area(key=f"recipe_text_{name}") for name in ("config", "dataset"))
    wrong = config.value.replace("network_dim = 16", 'network_dim = "many"\nconv_dim = 1')
    config.set_value(wrong.replace("seed = ", "seed = 1"))
    dataset.set_value(dataset.value.replace("num_repeats = 1", "num_repeats = 0"))
    app.run()
    app.button(key="recipe_text_apply").click().run()
    (error,) = app.error
    assert all(key in error.value.replace("\\", "") for key in ("network_dim", "conv_dim", "num_repeats"))
    assert projects.load(ws, NAME).value("seed") == settings.setting("seed").default
    assert "many" in whole(app).text_area(key="recipe_text_config").value


def test_keys_that_nobody_described_come_in_as_text_stay_and_are_shown(ws: Workspace) -> None:
    projects.create(ws, NAME, ON_DISK)
    app = opened(recipe_text=True, engine_view=True)
    text = app.text_area(key="recipe_text_dataset")
    lines = text.value.replace(
        "[[datasets.subsets]]",
        "network_multiplier = 0.5\n[[datasets.subsets]]\ncustom_attributes = { a = 1 }",
    )
    text.set_value(lines).run()
    app.button(key="recipe_text_apply").click().run()
    kept = projects.load(ws, NAME)
    assert (kept.dataset_other, kept.subset_other) == (
        {"network_multiplier": 0.5},
        {"custom_attributes": {"a": 1}},
    )
    assert any("network_multiplier = 0.5" in code.value for code in whole(app).code)
    assert "custom_attributes" in app.text_area(key="recipe_text_dataset").value


def test_a_form_change_meanwhile_survives_the_applied_text(ws: Workspace) -> None:
    projects.create(ws, NAME, ON_DISK)
    app = opened(recipe_text=True)
    text = app.text_area(key="recipe_text_config")
    text.set_value(text.value.replace("network_dim = 16", "network_dim = 48")).run()
    projects.save(ws, projects.with_value(projects.load(ws, NAME), "seed", 7))
    app.button(key="recipe_text_apply").click().run()
    kept = projects.load(ws, NAME)
    assert (kept.value("network_dim"), kept.value("seed")) == (48, 7)


def test_a_project_without_base_and_dataset_has_its_text_too(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened(recipe_text=True)
    text = app.text_area(key="recipe_text_config")
    text.set_value(text.value.replace("network_dim = 16", "network_dim = 48")).run()
    app.button(key="recipe_text_apply").click().run()
    assert projects.load(ws, NAME).values == {"network_dim": 48}


def test_only_the_fields_that_look_different_are_drawn_again(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened("network", "optimizer")
    field(app, "network_dim").set_value("32").run()
    assert any(element.value.endswith("**Changed.** The start value is 16.") for element in app.caption)
    for key in ("network_alpha", "learning_rate"):
        with pytest.raises(KeyError):
            field(app, key)


def test_a_change_shows_what_another_tab_has_changed_in_any_open_group(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened("network", "optimizer")
    projects.save(ws, projects.with_value(projects.load(ws, NAME), "learning_rate", 2e-5))
    field(app, "network_dim").set_value("32").run()
    assert field(app, "learning_rate").value == "2e-5"


def test_a_field_comes_into_its_place_when_another_one_calls_for_it(ws: Workspace) -> None:
    projects.create(ws, NAME)
    app = opened("optimizer")
    field(app, "optimizer_type").set_value("Prodigy").run()
    assert field(app, "d_coef").value == "1"
    field(whole(app), "d_coef").set_value("2").run()
    field(whole(app), "optimizer_type").set_value("AdamW").run()
    with pytest.raises(KeyError):
        field(whole(app), "d_coef")


def test_the_project_is_read_once_for_all_fields_of_a_group(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    projects.create(ws, NAME)
    app, asked = opened("network"), []
    load = projects.load_or_new
    monkeypatch.setattr(projects, "load_or_new", lambda *given: asked.append(given) or load(*given))
    sound(app.run())
    assert len(asked) <= 1
