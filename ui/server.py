"""The server's own parts round the pages: the gate, the picture routes, start-up, unexpected errors.

Covered: what `st.App` in Home.py is made of. Not covered: how the gate decides (`ui/gate.py`) and how
pictures are found (`ui/thumb_routes.py`).
"""

import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio.to_thread
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from streamlit.runtime.pages_manager import PagesManager

from lora_core import jobs
from lora_core.errors import LoraError
from ui import feedback, state
from ui.gate import gate_middleware
from ui.thumb_routes import picture_routes

_LOG = logging.getLogger("lora.server")

# Streamlit learns from the first `st.navigation` that we draw the pages ourselves. Until then it takes the
# folder `pages/` for the old kind of app: a tab that asks a fresh server for /Dataset would get the page
# without sidebar and frame (1.67).
PagesManager.uses_pages_directory = False


def routes() -> list[BaseRoute]:
    """Addresses that serve pictures; the gate stands in front of them as of everything else."""
    return picture_routes()


def middleware() -> list[Middleware]:
    """The gate, outermost. It is a pure ASGI class, so websockets pass through it too."""
    return gate_middleware()


@asynccontextmanager
async def lifespan(_app: Any) -> AsyncIterator[None]:
    """At start-up: go on with the work that an earlier app left behind."""
    await anyio.to_thread.run_sync(_take_over)
    pass_over_modules()
    yield


_settled_with = 0
"""Number of modules when the collector was last told to pass over them."""


def pass_over_modules() -> None:
    """Let the garbage collector pass over all modules that are imported now.

    Streamlit collects after every script run, and a change in the form is two: 65 ms each for the 140,000
    objects of the modules alone, while no message leaves. They stay for as long as the server does. Pages
    import theirs when they are drawn first.
    """
    global _settled_with  # noqa: PLW0603  one collector a process
    if len(sys.modules) != _settled_with:
        _settled_with = len(sys.modules)
        gc.collect()
        gc.freeze()


def _take_over() -> None:
    # The runner supervises jobs whose app is gone, and leaves when there are none. A workspace that cannot be
    # used is told on the pages, where one can read it; the server itself must come up for that.
    try:
        jobs.ensure_runner(state.workspace())
    except LoraError as error:
        _LOG.warning("%s", error)


def on_script_error(error: Exception) -> bool:
    """A bug in a page: the calm message instead of Streamlit's own."""
    return feedback.unexpected(error)
