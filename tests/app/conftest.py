"""Pages driven by Streamlit's AppTest, each test on a workspace of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lora_core.workspace import Workspace
from ui import layout

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 240.0


@pytest.fixture
def ws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A fresh workspace, which the pages open."""
    monkeypatch.setenv("LORA_WORKSPACE", str(tmp_path / "workspace"))
    return Workspace.open()


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
