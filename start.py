#!/usr/bin/env python3
"""Set up LoRA Easy Trainer and open it. Needs Python 3.11 to 3.14 and nothing else.

    python3 start.py              make the environment if needed, start the app, open the browser
    python3 start.py test         the same environment with the test tools; then every check and test
    python3 start.py --help       all options

The work is in the folder launcher/. This file stays readable for Python 2.7 and 3.0 to 3.10 as well,
so that an old Python can be told what it lacks instead of stopping at a line it cannot read.

Environment variables:

    LORA_WORKSPACE     the folder that holds all your work; as --workspace
    LORA_PORT          the port of the app; as --port
    LORA_TOKEN         the sign-in token; made once and kept when this is not set
    LORA_TORCH         the torch build to install, instead of the one chosen by the machine:
                       cpu, cu126, cu130, rocm7.2, or default for the package index's own build
    LORA_CHROMIUM      for tests: the Chromium or Chrome to use
    LORA_AXE           for tests: the axe.min.js to use
    LORA_SD_SCRIPTS    for tests: a checkout of sd-scripts

Set by this program for the app: LORA_WORKSPACE, LORA_PORT, LORA_LISTEN, LORA_NO_TOKEN, LORA_SHARE.
"""

import sys

if sys.version_info < (3, 11):
    version = ".".join(str(part) for part in sys.version_info[:2])
    sys.stderr.write(
        "\nThe app was not started.\n"
        "  Why: it needs Python 3.11 or newer. This is Python %s.\n"
        "  What to do: install Python 3.13, then start again with it.\n"
        "    Windows and macOS: get it from https://www.python.org/downloads/\n"
        "    Debian and Ubuntu: sudo apt install python3 python3-venv\n"
        "      (on an older release: sudo apt install python3.11 python3.11-venv, if it has them)\n"
        "    Fedora: sudo dnf install python3.13\n"
        "    Or, where you may not install programs: use conda or pyenv to get Python 3.13.\n"
        "    Then: python3.13 start.py\n".replace("%s", version)
    )
    sys.exit(2)

# An older Python must not get as far as this line.
from launcher.main import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
