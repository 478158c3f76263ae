"""The options of `python3 start.py`, and what cannot go together.

Not covered: carrying them out (main.py).
"""

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from launcher.words import ROOT, SetupError

DEFAULT_PORT: Final = 8501
LOOPBACK: Final = "127.0.0.1"
EVERY_ADDRESS: Final = "0.0.0.0"  # noqa: S104 - only with --listen, which says so


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the user asked for."""

    env: Path
    port: int = DEFAULT_PORT
    address: str = LOOPBACK
    """The address that the server listens on."""
    workspace: Path | None = None
    share: bool = False
    token: bool = True
    browser: bool = True
    setup_only: bool = False
    link: bool = False

    def environ(self, base: Mapping[str, str]) -> dict[str, str]:
        """The variables for every process of the app; `base` is this process's own."""
        environ = {name: value for name, value in base.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        environ["LORA_PORT"] = str(self.port)
        for name in ("LORA_LISTEN", "LORA_NO_TOKEN", "LORA_SHARE"):
            environ.pop(name, None)  # what the command says now counts, not what a shell kept from before
        if self.address != LOOPBACK:
            environ["LORA_LISTEN"] = self.address
        if not self.token:
            environ["LORA_NO_TOKEN"] = "1"  # noqa: S105 - a switch, not a token
        if self.share:
            environ["LORA_SHARE"] = "1"
        if self.workspace is not None:
            environ["LORA_WORKSPACE"] = str(self.workspace)
        return environ


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckOptions:
    """What `start.py test` was asked for."""

    env: Path
    full: bool = False
    pytest: tuple[str, ...] = ()


def read(arguments: Sequence[str]) -> Options | CheckOptions:
    """Options from the command line. Raises SetupError for those that exclude each other."""
    if arguments and arguments[0] == "test":
        return _read_test(arguments[1:])
    found = _parser().parse_args(arguments)
    options = Options(
        env=_full_path(found.env),
        port=found.port,
        address=found.listen or LOOPBACK,
        workspace=_full_path(found.workspace) if found.workspace else None,
        share=found.share,
        token=not found.no_token,
        browser=not found.no_browser,
        setup_only=found.setup_only,
        link=found.link,
    )
    if not options.token and (options.share or options.address != LOOPBACK):
        raise SetupError(
            "The app was not started.",
            why="--no-token is for your own machine alone. With --listen or --share, anybody could come in.",
            fix="Leave out --no-token, or leave out --listen and --share.",
        )
    return options


def _full_path(text: str) -> Path:
    # abspath and not resolve: a link to another disk is the user's own choice of a place.
    return Path(os.path.abspath(os.path.expanduser(text)))  # noqa: PTH100, PTH111 - as said above; `~nobody` is a name


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535, and this is {text!r}")
    return int(text)


def _add_env(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--env",
        metavar="PATH",
        default=str(ROOT / ".venv"),
        help="the folder of the environment (default: .venv)",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="start.py",
        description="Set up LoRA Easy Trainer and open it. Everything it installs goes into one folder.",
        epilog="Tests: python3 start.py test [--full] [pytest options]",
    )
    parser.add_argument(
        "--port",
        type=_port,
        metavar="N",
        help=f"the port of the app (default: {DEFAULT_PORT}, or LORA_PORT)",
        default=os.environ.get("LORA_PORT") or str(DEFAULT_PORT),  # a text is checked like the option
    )
    parser.add_argument(
        "--workspace", metavar="PATH", help="the folder that holds all your work (default: workspace)"
    )
    parser.add_argument(
        "--listen",
        nargs="?",
        const=EVERY_ADDRESS,
        metavar="ADDRESS",
        help="let other computers reach the app; the sign-in link is needed all the same",
    )
    parser.add_argument("--share", action="store_true", help="make a public link through a tunnel")
    parser.add_argument("--link", action="store_true", help="show the sign-in link again, and end")
    parser.add_argument("--setup-only", action="store_true", help="set everything up, and end")
    parser.add_argument(
        "--no-token", action="store_true", help="ask for no sign-in; for your own machine alone"
    )
    parser.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    _add_env(parser)
    return parser


def _read_test(arguments: Sequence[str]) -> CheckOptions:
    parser = argparse.ArgumentParser(
        prog="start.py test",
        description="Run every check and test. Further options go to pytest.",
        allow_abbrev=False,
    )
    parser.add_argument("--full", action="store_true", help="run the long sampling suites whole")
    _add_env(parser)
    found, rest = parser.parse_known_args(arguments)
    return CheckOptions(env=_full_path(found.env), full=found.full, pytest=tuple(rest))
