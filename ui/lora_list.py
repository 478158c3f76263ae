"""The finished LoRA files: what there is, what is inside one, and its download.

Covered: the Utilities page. Not covered: reading the files (`lora_core.loras`).
"""

from typing import Final

import streamlit as st

from lora_core import loras, models
from lora_core.loras import FinishedLora, LoraInfo
from lora_core.workspace import Workspace
from ui import feedback, icons, layout, now, pictures, state
from ui.layout import Parts
from ui.thumb_routes import preview_url

FIELD_WIDTH_PX: Final = 520
UNKNOWN: Final = "The file does not say."


def draw(ws: Workspace, parts: Parts) -> None:
    """Choose a file in "Do it"; see what it is in "What happened"."""
    with parts.do_it, st.spinner("Reading the LoRA files. With many this takes some seconds."):
        found = loras.list_finished(ws)
    if not found:
        with parts.do_it:
            st.write("There is no finished LoRA yet. When a training is finished, its LoRA appears here.")
            if st.button("Go on to training", key="loras_to_training", icon=icons.GO, type="primary"):
                st.switch_page(layout.script_of(layout.TRAINING))
        parts.nothing_yet()
        return
    by_name = {one.path.name: one for one in found}
    with parts.do_it:
        st.write(f"You have {state.counted(len(found), 'LoRA file')}. They are in this folder:")
        st.code(str(ws.loras), language=None, wrap_lines=True)
        name = st.selectbox(
            "LoRA file to look at",
            list(by_name),
            key="lora_looked_at",
            format_func=lambda file: (
                f"Saved {state.when(by_name[file].modified)}: {now.short(by_name[file].name)}"
            ),
            persist_state="session",
            width=FIELD_WIDTH_PX,
        )
        chosen = by_name[name]
        _download(chosen)
    with parts.happened:
        _one(chosen)
        layout.subheader("All finished LoRA files")
        st.table(
            [_row(one) for one in found], hide_index=True, alt="The finished LoRA files, the newest first"
        )


def _download(lora: FinishedLora) -> None:
    if lora.info is not None:
        st.download_button(
            "Download this LoRA file",
            data=lora.path.read_bytes,  # read when it is pressed, not at each script run
            file_name=lora.path.name,
            mime="application/octet-stream",
            key=f"download_{lora.path.name}",
            icon=icons.DOWNLOAD,
            type="primary",
            on_click="ignore",
        )
        st.caption(f"It takes {state.how_big(lora.size_bytes)}. The download begins when the file is read.")


def _one(lora: FinishedLora) -> None:
    layout.subheader(f"What is inside {feedback.spoken(lora.name)}")
    if lora.preview is not None:
        alt = f"Sample picture of {lora.name}, made at the end of its training"
        pictures.row(
            [pictures.Picture(address=preview_url(lora.preview.name), alt=alt, caption="Last sample")]
        )
    if lora.problem is not None:
        feedback.show(lora.problem)
    if lora.info is None:
        return
    st.table(facts(lora.info), hide_index=True, hide_header=True, alt=f"What the file {lora.name} says")
    for warning in lora.info.warnings:
        feedback.care(warning)
    with st.expander("All notes in the file"):
        notes = [
            {"Note": feedback.spoken(key), "Text": feedback.spoken(_short(text))}
            for key, text in sorted(lora.info.metadata.items())
        ]
        st.table(notes, hide_index=True, alt=f"All notes in the file {lora.name}")


def facts(info: LoraInfo) -> list[dict[str, str]]:
    """What one wants to know of a file, in the order in which one asks."""
    family = models.FAMILY_NAMES.get(info.family or "", info.family)
    said = {
        "Name": info.name,
        "Trigger word": info.trigger_word,
        "Fits base models of the kind": family,
        "Trained on": info.base,
        "Kind": info.kind,
        "Rank (how much it can hold)": ", ".join(map(str, info.ranks)) or None,
        "Alpha (how strongly it acts)": ", ".join(f"{alpha:g}" for alpha in info.alphas) or None,
        "Steps": str(info.steps) if info.steps is not None else None,
        "Epochs": str(info.epochs) if info.epochs is not None else None,
        "Training size": info.resolution,
        "Precision": info.dtype,
        "Layers": f"{info.unet_layers} of the image part, {info.text_encoder_layers} of the text part",
        "Size of the file": state.how_big(info.size_bytes),
    }
    return [{"Fact": name, "Value": feedback.spoken(value or UNKNOWN)} for name, value in said.items()]


def _row(lora: FinishedLora) -> dict[str, str]:
    """Two columns: a third one would end outside of a phone's window."""
    info = lora.info
    facts = [f"Saved {state.when(lora.modified)}", state.how_big(lora.size_bytes)]
    if info is None:
        facts.append("The file is damaged")
    else:
        facts += [f"Base model: {info.base}"] if info.base else []
        facts += [f"Rank {', '.join(map(str, info.ranks))}"] if info.ranks else []
        facts += [state.counted(info.steps, "step")] if info.steps is not None else []
    return {"Name": feedback.spoken(lora.name), "About it": feedback.spoken(". ".join(facts) + ".")}


def _short(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text)} characters in all)"
