"""What holds on every page: the four parts, one main button, few choices, plain words."""

import gc
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import made_runs as made
import page_words as words
import pytest
import textstat
from streamlit.testing.v1 import AppTest

from lora_core import demo
from lora_core.workspace import Workspace
from ui import guide_recipe, guide_steps, layout, project, server

Open = Callable[..., AppTest]
MAX_GRADE = 8.0
MAX_WORDS = 20
MAX_CHOICES = 5


def empty(ws: Workspace) -> None:
    made.machine(ws)


def finished(ws: Workspace) -> None:
    made.machine(ws)
    made.run(ws, "cat", "finished", steps=40)
    made.lora(ws, "cat")


def failed(ws: Workspace) -> None:
    made.machine(ws)
    made.run(
        ws,
        "cat",
        "failed",
        steps=12,
        cause="The memory was full.",
        fix="Lower the batch size.",
        notes=["One note."],
    )


def broken(ws: Workspace) -> None:
    made.machine(ws)
    (ws.loras / "half.safetensors").write_bytes(b"\x10\x00\x00\x00")


def chosen(ws: Workspace) -> None:
    made.machine(ws)
    run = demo.create_demo(ws)
    aimed = replace(project.of_run("cat", run), goal="character")
    found = guide_recipe.laid(aimed, guide_recipe.recipe_for(ws, aimed))  # type: ignore[arg-type]  # there is one
    project.save(ws, found.project)


STATES = {"chosen": chosen, "empty": empty, "finished": finished, "failed": failed, "broken": broken}


SEEN = (
    *((layout.HOME, state) for state in ("empty", "finished", "failed")),
    (layout.SETUP, "empty"),
    (layout.DATASET, "empty"),
    *((layout.TRAINING, state) for state in ("empty", "finished", "failed")),
    *((layout.TRAINING, state, step.id) for step in guide_steps.STEPS for state in ("empty", "chosen")),
    *((layout.UTILITIES, state) for state in ("empty", "finished", "broken")),
)


@pytest.fixture(params=SEEN, ids=lambda p: "-".join([p[0].title, *p[1:]]))
def app(request: pytest.FixtureRequest, ws: Workspace, open_page: Open) -> AppTest:
    page, state, *step = request.param
    STATES[state](ws)
    return open_page(page, **({guide_steps.ADDRESS: step[0]} if step else {}))


def walk(block: Any) -> Iterator[Any]:
    for child in block.children.values():
        yield child
        if hasattr(child, "children") and getattr(child, "type", "") != "expander":
            yield from walk(child)


def test_a_page_has_its_parts_its_words_and_few_choices(app: AppTest) -> None:
    check_parts(app)
    check_buttons(app)
    check_choices(app)
    check_words(app)


def check_parts(app: AppTest) -> None:
    title = app.title[0].value
    parts = [header.value for header in app.header]
    if title == layout.HOME.title:
        assert parts == ["Where you are", "What is happening now", "The next step"]
    else:
        assert parts == [layout.DOES, layout.NEEDS, layout.DO_IT, layout.HAPPENED]


def check_buttons(app: AppTest) -> None:
    main = [button.label for button in app.button if button.proto.type == "primary"]
    assert len(main) <= 1, main
    assert not [button.label for button in app.button if button.disabled and button.proto.type == "primary"]


def check_choices(app: AppTest) -> None:
    kinds = {"text_input", "text_area", "selectbox", "number_input", "radio", "multiselect"}
    outside = [element.label for element in walk(app.main) if getattr(element, "type", "") in kinds]
    assert len(outside) <= MAX_CHOICES, outside


def check_words(app: AppTest) -> None:
    found = words.sentences(app)
    assert len(found) > 5
    grade = textstat.flesch_kincaid_grade(" ".join(found))
    assert grade <= MAX_GRADE, f"grade {grade:.1f}"
    long = [sentence for sentence in found if len(sentence.split()) > MAX_WORDS]
    assert long == []


def test_every_chart_says_in_words_what_it_shows(ws: Workspace, open_page: Open) -> None:
    finished(ws)
    app = open_page(layout.TRAINING)
    texts = {element.value for element in app.markdown}
    charts = app.get("plotly_chart")
    assert len(charts) == 2
    for chart in charts:
        assert chart.proto.alt
        assert chart.proto.alt in texts


def test_every_icon_of_the_list_can_be_drawn() -> None:
    def script() -> None:
        import streamlit as st

        from ui import icons

        for name, icon in icons.ALL.items():
            st.button(f"Show {name}", icon=icon)

    app = AppTest.from_function(script, default_timeout=240).run()
    assert not app.exception
    assert len(app.button) > 10


def test_the_collector_passes_over_what_a_page_has_imported(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    gc.unfreeze()
    monkeypatch.setattr(server, "_settled_with", 0)  # as in a new process
    open_page(layout.TRAINING)
    assert gc.get_freeze_count() > 10_000
