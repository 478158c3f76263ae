"""The entry of `python3 start.py`: read the options, do what they ask, and say how it ended.

Exit codes: 0 done; 1 something stopped it, with the reason printed; 2 wrong options or an old Python;
130 stopped with Ctrl-C.
"""

import errno
from collections.abc import Sequence

from launcher import options as read_options
from launcher.environment import Environment
from launcher.options import CheckOptions, Options
from launcher.serve import serve, sign_in_link
from launcher.setup import prepare
from launcher.testing import run_tests
from launcher.words import SetupError, say, show_error
from lora_core.errors import LoraError


def main(arguments: Sequence[str]) -> int:
    """Run the launcher; returns the exit code."""
    try:
        asked = read_options.read(arguments)
        if isinstance(asked, CheckOptions):
            return run_tests(asked)
        return _link(asked) if asked.link else _start(asked)
    except LoraError as error:
        show_error(error)
        return 1
    except OSError as error:
        show_error(_refused_by_system(error))
        return 1
    except KeyboardInterrupt:
        say("\nStopped. Start again at any time: what is done is not done twice.")
        return 130


def _refused_by_system(error: OSError) -> SetupError:
    """A refusal that no part foresaw, such as a disk that filled up between two steps."""
    about = f" It is about {error.filename}." if error.filename else ""
    why, fix = (
        f"The system answered: {error.strerror or error}.",
        "Check this path and whether you may use it.",
    )
    if error.errno == errno.ENOSPC:
        why, fix = "The disk is full.", "Free some space."
    return SetupError("It was not done to its end.", why=why + about, fix=f"{fix} Then start again.")


def _start(options: Options) -> int:
    env = prepare(options.env, retry_gpu=options.setup_only)
    if options.setup_only:
        say("Everything is set up. To open the app, run: python3 start.py")
        return 0
    return serve(env, options)


def _link(options: Options) -> int:
    env = Environment(options.env)
    if not env.python.exists():
        raise SetupError(
            "There is no link yet.",
            why=f"The app was not set up in {options.env}.",
            fix="Run: python3 start.py",
        )
    say(sign_in_link(env, options))
    return 0
