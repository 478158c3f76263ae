"""What is wrong with the files of a dataset, in plain words, and captions that two wrote at once.

Covered: drawing problems by kind, settling conflicts. Not covered: finding them (see
`lora_core.datasets.images` and `lora_core.datasets.journal`).
"""

from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Final

import streamlit as st

from lora_core.datasets.images import FileProblem, Kind
from lora_core.datasets.index import DatasetIndex
from lora_core.datasets.journal import Conflict, conflicts, settle
from ui import feedback, icons, layout, state
from ui.dataset_captions import with_index

_SAYS: Final[dict[Kind, tuple[str, str]]] = {
    "caption": (
        "1 caption cannot be read. Training stops because of it.",
        "{} captions cannot be read. Training stops because of them.",
    ),
    "broken": (
        "1 picture is damaged. Training leaves it out.",
        "{} pictures are damaged. Training leaves them out.",
    ),
    "too_large": (
        "1 picture has too many pixels. Training leaves it out.",
        "{} pictures have too many pixels. Training leaves them out.",
    ),
    "format": (
        "1 picture is of a kind that training does not read.",
        "{} pictures are of kinds that training does not read.",
    ),
    "link": (
        "1 file is a link to another folder. Training leaves it out.",
        "{} files are links to other folders. Training leaves them out.",
    ),
    "same_stem": (
        "1 picture shares its name with another one.",
        "{} pictures share their names with others.",
    ),
    "turned": (
        "1 picture was taken with a turned camera.",
        "{} pictures were taken with a turned camera.",
    ),
    "uncaptioned": (
        "1 picture has no caption. Training uses the trigger word alone for it.",
        "{} pictures have no caption. Training uses the trigger word alone for them.",
    ),
}
"""Each kind as a sentence about one file and about several, in the order in which they are told."""
_NAMES_SEEN: Final = 5
_LINES_SEEN: Final = 200
_CONFLICTS_SEEN: Final = 3


def draw(problems: Iterable[FileProblem]) -> None:
    """Every kind of problem as one message with its files; nothing when there is none."""
    order = list(_SAYS)
    known = sorted(problems, key=lambda problem: order.index(problem.kind))
    for kind, group in groupby(known, key=lambda problem: problem.kind):
        _draw_kind(kind, list(group))


def _draw_kind(kind: Kind, found: list[FileProblem]) -> None:
    one, many = _SAYS[kind]
    says = one if len(found) == 1 else many.format(len(found))
    files = ", ".join(problem.file for problem in found[:_NAMES_SEEN])
    if len(found) > _NAMES_SEEN:
        files += f" and {len(found) - _NAMES_SEEN} more"
    files = f"{'The file is' if len(found) == 1 else 'The files are'} {files}."
    fix = found[0].fix
    if found[0].effect == "stops":
        feedback.problem(says, why=files, fix=fix)
    elif found[0].effect == "skipped":
        feedback.care(f"{files} {fix}", title=says)
    else:
        feedback.note(f"{says} {files} {fix}")
    if len({problem.what for problem in found}) > 1:
        with st.expander(f"What is wrong with each of the {len(found)}"):
            st.markdown(bullets(f"{one.file}: {one.what}" for one in found))
    elif len(found) > _NAMES_SEEN:
        with st.expander(f"The names of all {len(found)}"):
            st.markdown(bullets(one.file for one in found))


def bullets(lines: Iterable[str]) -> str:
    """The lines as a Markdown list; of thousands the first ones, so that the page stays fast."""
    listed = [f"- {feedback.spoken(line)}" for line in lines]
    left = len(listed) - _LINES_SEEN
    return "\n".join(listed if left <= 0 else [*listed[:_LINES_SEEN], f"- And {left} more."])


def draw_conflicts(folder: Path, index: DatasetIndex) -> bool:
    """Captions that another program changed meanwhile: both texts and a choice. False for none."""
    found = conflicts(index)
    if not found:
        return False
    layout.subheader(f"{state.counted(len(found), 'caption')} to decide about")
    st.write("Another program changed the file while you wrote. Both texts are kept until you choose.")
    for conflict in found[:_CONFLICTS_SEEN]:
        st.markdown(
            bullets(
                [
                    f"Picture: {conflict.name}",
                    f"Your text: {conflict.mine or 'no text'}",
                    f"Text in the file: {conflict.theirs or 'no text'}",
                ]
            )
        )
        with st.container(horizontal=True):
            st.button(
                feedback.spoken(f"Save your text for {conflict.name}"),
                key=f"mine_{conflict.id}",
                icon=icons.SAVE,
                on_click=_settle,
                args=(folder, conflict, True),
                wrap=True,
            )
            st.button(
                feedback.spoken(f"Take the text in the file of {conflict.name}"),
                key=f"theirs_{conflict.id}",
                icon=icons.OPEN,
                on_click=_settle,
                args=(folder, conflict, False),
                wrap=True,
            )
    return True


def _settle(folder: Path, conflict: Conflict, use_mine: bool) -> None:
    def work(index: DatasetIndex) -> None:
        settle(index, conflict, use_mine=use_mine)

    with_index(folder, work)
