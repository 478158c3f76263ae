"""Setup and Utilities: the machine in findings, the finished files with what is inside."""

from collections.abc import Callable
from unittest.mock import patch

import made_runs as made
from streamlit.testing.v1 import AppTest

from lora_core import machine
from lora_core.machine import Finding, Machine
from lora_core.workspace import Workspace
from ui import layout

Open = Callable[..., AppTest]


def test_setup_shows_each_finding_with_a_word_for_its_state(ws: Workspace, open_page: Open) -> None:
    made.machine(ws)
    app = open_page(layout.SETUP)
    shown = " ".join(element.value for element in app.markdown)
    for finding in machine.probe(ws).findings:
        assert finding.label in shown
    assert "PyTorch" in shown
    assert "Fine" in shown


def test_what_must_be_repaired_comes_with_its_fix(ws: Workspace, open_page: Open) -> None:
    made.machine(ws)
    full = Finding(
        key="disk",
        label="Disk",
        value="0.1 GiB free",
        state="problem",
        sentence="No room.",
        fix="Free some space.",
    )
    # A disk without room cannot be had here; what the page does with the finding can.
    with patch.object(machine, "probe", return_value=Machine(findings=(full,), gpus=(), torch_known=True)):
        app = open_page(layout.SETUP)
    (error,) = app.error
    assert "Free some space." in error.value


def test_a_finished_file_is_listed_with_what_is_inside(ws: Workspace, open_page: Open) -> None:
    made.lora(ws, "my cat", rank=4)
    app = open_page(layout.UTILITIES)
    assert app.selectbox(key="lora_looked_at").options == [app.selectbox(key="lora_looked_at").options[0]]
    inside = app.table[0].value.set_index("Fact")["Value"].to_dict()
    assert inside["Rank (how much it can hold)"] == "4"
    assert inside["Trigger word"] == "blip"
    assert inside["Steps"] == "400"


def test_a_broken_file_is_listed_with_its_reason_and_does_not_hide_the_others(
    ws: Workspace, open_page: Open
) -> None:
    made.lora(ws, "good")
    (ws.loras / "half.safetensors").write_bytes(b"\x10\x00\x00\x00")
    app = open_page(layout.UTILITIES)
    app.selectbox(key="lora_looked_at").set_value("half.safetensors").run()
    (error,) = app.error
    assert error.value
    assert set(app.table[-1].value["Name"]) == {"good", "half"}


def test_a_files_name_and_notes_are_shown_as_they_are(ws: Workspace, open_page: Open) -> None:
    made.lora(ws, "**x** $y$")
    app = open_page(layout.UTILITIES)
    assert app.table[0].value.set_index("Fact")["Value"]["Name"] == r"\*\*x\*\* \$y\$"
    notes = next(table.value for table in app.table if "Note" in table.value)
    assert notes.set_index("Note")["Text"][r"ss\_output\_name"] == r"\*\*x\*\* \$y\$"
