"""`python -m lora_core …`: see cli.py. Not covered: the app; `python3 start.py` opens it."""

import sys

from lora_core.cli import main

if __name__ == "__main__":
    sys.exit(main())
