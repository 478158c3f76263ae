"""The commands about messages: addresses and the test message.

Covered: `notify add|list|remove|test`. Not covered: when messages are sent (`lora_core.jobs`). An address is
read from standard input, never from the command line, which other users of the computer can see.
"""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from lora_core import cli_text
from lora_core.cli_queue import print_json
from lora_core.cli_recipe import JsonOption, WorkspaceOption
from lora_core.cli_text import EXIT_DONE, EXIT_FAILED
from lora_core.errors import JobError
from lora_core.jobs import notify
from lora_core.workspace import Workspace

app = typer.Typer(
    help="Messages to a phone or a mailbox when a training ends, fails or stands still.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Add the address that is typed at the prompt or stands on standard input."""
    ws = Workspace.open(workspace)
    if sys.stdin.isatty():
        url = str(typer.prompt("Address (it is not shown while you type)", hide_input=True, err=True))
    else:
        url = sys.stdin.readline()
    made = notify.add(ws, url)
    if as_json:
        print_json(_record(made))
    else:
        print(f"Added {made.service} {made.fingerprint}. {made.sentence}")
        print("See whether it works with: python -m lora_core notify test")


@app.command("list")
def list_addresses(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """List the addresses: service, fingerprint, and where each is kept."""
    ws = Workspace.open(workspace)
    found, events = notify.addresses(ws), notify.events(ws)
    if as_json:
        print_json({"addresses": [_record(one) for one in found], "events": asdict(events)})
        return
    if not found:
        print("There is no address, so no message is ever sent.")
    for one in found:
        print(f"{one.fingerprint}  {cli_text.printable(one.service)}. {one.sentence}")
    told = [name for name, on in asdict(events).items() if on]
    print(f"Events: {', '.join(told) or 'none'}.")


@app.command()
def remove(
    fingerprint: Annotated[str, typer.Argument(metavar="FINGERPRINT", help="As notify list prints it.")],
    as_json: JsonOption = False,
    workspace: WorkspaceOption = None,
) -> None:
    """Forget an address."""
    gone = notify.remove(Workspace.open(workspace), fingerprint)
    if as_json:
        print_json(_record(gone))
    else:
        print(f"Removed {gone.service} {gone.fingerprint}.")


@app.command("test")
def send_test(as_json: JsonOption = False, workspace: WorkspaceOption = None) -> None:
    """Send a test message to every address."""
    found = notify.outcomes(Workspace.open(workspace))
    if as_json:
        print_json(found)
    elif not found:
        raise JobError(
            "No message was sent.",
            why="There is no address.",
            fix="Add one with: python -m lora_core notify add",
        )
    else:
        for one in found:
            print(
                f"{one['service']} {one['fingerprint']}: {one['problem'] or 'The service took the message.'}"
            )
    failed = not found or any(one["problem"] for one in found)
    raise typer.Exit(EXIT_FAILED if failed else EXIT_DONE)


def _record(address: notify.Address) -> dict[str, str]:
    return {"service": address.service, "fingerprint": address.fingerprint, "place": address.place}
