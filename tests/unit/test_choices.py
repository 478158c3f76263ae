"""`settings.toml`: what the app and the commands keep in it, whoever writes it and whatever is in it."""

import subprocess
import sys
from pathlib import Path

import pytest

from lora_core.jobs import choices
from lora_core.workspace import Workspace
from ui import state

ROOT = Path(__file__).parents[2]

TAB = """
import sys
from pathlib import Path
from lora_core.jobs import choices
from lora_core.workspace import Workspace
from ui import state
ws, name = Workspace(Path(sys.argv[1])), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    choices.change(ws, name, {f"key_{number}": name})
    state.open_named(ws, f"{name} {number}")
    choices.keep_awake(ws, on=number % 2 == 0)
"""


@pytest.fixture
def ws(tmp_path: Path) -> Workspace:
    return Workspace.open(tmp_path / "ws")


def test_tabs_and_commands_that_write_at_once_lose_nothing(ws: Workspace) -> None:
    names = ("first", "second", "third")
    command = [sys.executable, "-c", TAB, str(ws.root)]
    tabs = [
        subprocess.Popen([*command, name], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in names
    ]
    try:
        for tab in tabs:
            assert tab.stdout is not None
            assert tab.stdout.readline() == b"ready\n"
        for tab in tabs:
            assert tab.stdin is not None
            tab.stdin.write(b"\n")
            tab.stdin.flush()
        assert [tab.wait(120) for tab in tabs] == [0, 0, 0]
    finally:
        for tab in tabs:
            tab.kill()
            tab.communicate()
    for name in names:
        assert choices.table(ws, name) == {f"key_{number}": name for number in range(20)}
    assert state.opened(ws) in {f"{name} 19" for name in names}
    assert choices.kept_awake(ws) is False


@pytest.mark.parametrize("rubbish", [b"[", b"x = ", b"\xff\xfe", b"[a]\n[a]\n", b"= 3", b"[pages\nx=1"])
def test_a_damaged_file_costs_no_page_and_is_put_aside_by_the_next_choice(
    ws: Workspace, rubbish: bytes
) -> None:
    ws.settings_file.write_bytes(rubbish)
    assert (state.opened(ws), state.updates_paused(ws), state.retry_ladder(ws)) == (None, False, False)
    state.open_named(ws, "mine")
    assert state.opened(ws) == "mine"
    assert ws.settings_file.with_name("settings.toml.damaged").read_bytes() == rubbish


def test_a_choice_that_is_made_already_writes_nothing(ws: Workspace) -> None:
    state.open_named(ws, "mine")
    before = ws.settings_file.stat().st_mtime_ns
    state.open_named(ws, "mine")
    assert ws.settings_file.stat().st_mtime_ns == before


def test_a_file_that_cannot_be_read_is_not_written_over(
    ws: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.open_named(ws, "mine")

    def broken(_path: Path) -> str:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(choices, "read_open", broken)
        with pytest.raises(choices.WorkspaceError, match="not kept"):
            choices.keep_awake(ws, on=False)
    assert state.opened(ws) == "mine"
