"""What looks like a secret in a file of settings: such a value is kept nowhere.

Covered: names and values of single keys. Not covered: text in which one stands somewhere (see
`lora_core.redact`).
"""

import re
from collections.abc import Mapping
from typing import Any, Final

_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|secret|credential|api_?key|access_?key|private_?key|authtoken"
    r"|(?:^|_|\.)(?:hf|hub|huggingface|civitai|wandb|auth|access|bearer|ngrok|api|user)_?token\b",
    re.IGNORECASE,
)
_SECRET_VALUE: Final = re.compile(
    r"\bhf_[A-Za-z0-9]{16,}|\bsk-[A-Za-z0-9_-]{16,}|\bgh[opsu]_[A-Za-z0-9]{20,}|\bAKIA[A-Z0-9]{12,}"
    r"|[?&](?:token|key|api_?key|access_token)=[^&\s]+|\bBearer\s+\S{8,}|://[^/\s:@]+:[^/\s@]+@",
    re.IGNORECASE,
)


def is_secret(name: str, value: Any) -> bool:
    """True for a token, key or password, by its name or by how its value looks."""
    if _SECRET_NAME.search(name):
        return True
    if isinstance(value, str):
        return _SECRET_VALUE.search(value[:10_000]) is not None
    if isinstance(value, list | tuple):
        return any(is_secret("", item) for item in value[:1000])
    if isinstance(value, Mapping):
        return any(is_secret(str(key), item) for key, item in value.items())
    return False
