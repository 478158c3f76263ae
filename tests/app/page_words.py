"""The words of a page, as one text that can be scored."""

import re
from collections.abc import Iterator

from streamlit.testing.v1 import AppTest

NAMES = re.compile(
    r"\b(LoRA|LoRAs|PyTorch|ONNX Runtime|safetensors|Python|GiB|epsilon|AdamW|bf16|fp16|ComfyUI|Forge)\b",
    re.IGNORECASE,
)


def shown(app: AppTest) -> Iterator[str]:
    """Every text of the page and the sidebar, one element each."""
    for kind in (
        "title",
        "header",
        "subheader",
        "markdown",
        "caption",
        "error",
        "warning",
        "info",
        "success",
    ):
        for element in app.get(kind):
            yield str(element.value)
            yield str(getattr(element, "title", "") or "")
    for kind in ("button", "checkbox", "selectbox", "text_input", "text_area"):
        for element in app.get(kind):
            yield str(element.label)


def sentences(app: AppTest) -> list[str]:
    """The page's sentences, without marks; a label or a bullet is a sentence of its own."""
    found: list[str] = []
    for text in shown(app):
        for line in text.splitlines():
            plain = re.sub(r":material/\w+:|`[^`]*`|[*_#>\\]|^\s*(-|\d+\.)\s", "", line).strip()
            plain = NAMES.sub("name", plain)
            found += [
                part.strip() for part in re.split(r"(?<=[.?:])\s+", plain) if re.search(r"[a-zA-Z]", part)
            ]
    return [part if part[-1] in ".?" else f"{part.rstrip(':')}." for part in found]
