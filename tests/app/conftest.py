"""Pages driven by Streamlit's AppTest, each test on a workspace of its own."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from streamlit.testing.v1 import AppTest

from lora_core.jobs import spawn
from lora_core.workspace import Workspace
from ui import layout

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A fresh workspace, which the pages open; nothing of it runs afterwards."""
    monkeypatch.setenv("LORA_WORKSPACE", str(tmp_path / "workspace"))
    workspace = Workspace.open()
    yield workspace
    if spawn.runner_lock(workspace).parent.exists():
        _end_processes(workspace.root)


def _end_processes(root: Path) -> None:
    """A training that a page has begun would go on beside the tests that follow."""
    for process in psutil.process_iter(["cmdline"]):
        if any(str(root) in part for part in process.info["cmdline"] or ()):
            with suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture
def open_page(ws: Workspace) -> Callable[..., AppTest]:
    """Opens a page as a new tab would, with what stands in the address."""

    def opened(page: layout.PageName = layout.HOME, **address: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "Home.py"), default_timeout=LIMIT_S)
        for name, value in address.items():
            app.query_params[name] = value
        app.run()
        if page.script:
            app.switch_page(page.script)
            for name, value in address.items():  # switching clears the address, as a link in the sidebar does
                app.query_params[name] = value
            app.run()
        assert not app.exception, app.exception[0].value
        return app

    return opened
