"""The link that signs a browser in: made, and shown where the server was started.

Covered: which address and port it names, also when the server got another port than the usual one.
Not covered: what the gate makes of it (`ui/gate.py`), tokens (`ui/tokens.py`).
"""

import contextlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TextIO

from lora_core.errors import WorkspaceError
from lora_core.workspace import Workspace, write_atomic
from ui import gate_settings, tokens
from ui.gate_settings import GateState, gate_state
from ui.tokens import Access

_SHORT: Final = f"The token is short. One of {tokens.SHORT_TOKEN} characters or more is harder to guess."


def made(env: Mapping[str, str], *, once: bool, advise: TextIO) -> str:
    """The link to the app of this workspace; with `once` one that is good for a single use, soon.

    Raises:
        LoraError: the environment or the workspace does not allow for one.
    """
    state = gate_state(env)
    base = gate_settings.base_url(*_where(state, env))
    if not state.token:
        return f"{base}/"
    access = tokens.load(workspace(env), env)
    if once:
        return access.link(base, once_at_s=time.time())
    if len(access.token) < tokens.SHORT_TOKEN:
        advise.write(f"{_SHORT}\n")
    return access.link(base)


def workspace(env: Mapping[str, str]) -> Workspace:
    """The workspace that the environment names."""
    named = env.get("LORA_WORKSPACE", "")
    return Workspace.open(Path(named) if named else None)


def server_is_up(out: TextIO, access: Access | None, state: GateState, env: Mapping[str, str]) -> None:
    """Note where the server listens, and print the link unless whoever started it does."""
    sockets = gate_settings.listening()
    address, port = min(
        sockets, key=lambda s: s[1] != gate_settings.asked_port(env), default=_asked(state, env)
    )
    with contextlib.suppress(WorkspaceError, OSError):  # the link then names the port that was asked for
        write_atomic(_noted(workspace(env)), f"{address} {port}\n")
    if env.get("LORA_LINK_SHOWN"):
        return
    base = gate_settings.base_url(address, port)
    if access is None:
        out.write(f"\n  The app is open at: {base}\n  {state.sentence}\n\n")
    else:
        out.write(f"\n  The app is open at: {access.link(base)}\n")
        out.write("  Keep the link to yourself: whoever has it can use the app.\n")
        if gate_settings.open_to_others(sockets):
            out.write(
                "  Other computers reach the app too. For them, put this computer's address into the link.\n"
            )
        if len(access.token) < tokens.SHORT_TOKEN:
            out.write(f"  {_SHORT}\n")
        out.write("\n")
    out.flush()


def _asked(state: GateState, env: Mapping[str, str]) -> tuple[str, int]:
    return state.listen, gate_settings.asked_port(env)


def _noted(ws: Workspace) -> Path:
    return ws.root / ".access" / "listens"


def _where(state: GateState, env: Mapping[str, str]) -> tuple[str, int]:
    """As asked for; or where the app of this workspace noted itself, if it still listens there."""
    asked = _asked(state, env)
    try:
        address, _, port = _noted(workspace(env)).read_text("utf-8").strip().partition(" ")
    except (OSError, UnicodeDecodeError):
        return asked
    noted = (address, int(port) if port.isdecimal() else 0)
    running = gate_settings.app_sockets()
    return noted if noted in running and asked[1] not in {at for _, at in running} else asked
