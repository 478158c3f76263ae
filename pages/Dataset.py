"""Dataset: bring pictures in, see them with their captions, change captions.

Covered: which of these is on the page. Not covered: drawing them (`ui/dataset_import.py`,
`ui/dataset_captions.py`, `ui/dataset_problems.py`).
"""

import streamlit as st

from lora_core.datasets.index import open_index
from lora_core.datasets.library import dataset_folder, dataset_names, newest_dataset, picture_folders
from ui import dataset_captions, dataset_import, dataset_problems, guide_steps, icons, layout, state

ws = state.workspace()
parts = layout.step_page(
    layout.DATASET,
    does="This page brings your pictures into the app. A caption is a text that says what a picture shows. "
    "You can read and change the captions here.",
    needs=[
        "Pictures as png, jpg, webp or bmp, in a folder or a zip.",
        "Captions, if you have some: a text file with the name of its picture.",
        "Time: about a minute for 1,000 pictures. Your own files stay as they are.",
    ],
)
names, running = dataset_names(ws), dataset_import.running(ws)
if not names:
    with parts.do_it:
        if running is None:
            dataset_import.form(ws, primary=True)
        else:
            st.write("The pictures are being brought in. They appear here when that is done.")
    with parts.happened:
        if not dataset_import.result(ws):
            parts.nothing_yet()
else:
    if st.session_state.get("dataset") not in names:
        # Set here and not as the widget's default: the newest may change while the page is open.
        asked = st.query_params.get("dataset")
        st.session_state["dataset"] = asked if asked in names else newest_dataset(ws)
    with parts.do_it:
        name = st.selectbox("Dataset", names, key="dataset", bind="query-params")
        folders = {folder.name: folder for folder in picture_folders(dataset_folder(ws, name))}
        chosen = next(iter(folders))
        if len(folders) > 1 or chosen != name:
            st.write(f"This dataset has its pictures in {state.counted(len(folders), 'folder')}.")
            chosen = st.selectbox("Folder to look at", list(folders), key=f"folder_of_{name}")
            name = f"{name}/{chosen}"
        folder = folders[chosen]
    with open_index(folder) as index:
        with parts.do_it, st.spinner("Looking through the pictures. With thousands this takes some seconds."):
            index.refresh()
        problems = index.problems()
        with parts.do_it:
            dataset_captions.draw(folder, index, name=name)
            if running is None:
                with st.expander("Bring in more pictures"):
                    dataset_import.form(ws, primary=False)
            if st.button("Go on to training", key="dataset_go", type="primary", icon=icons.GO):
                address = {
                    guide_steps.ADDRESS: guide_steps.DATASET.id,
                    "dataset": st.session_state["dataset"],
                }
                st.switch_page(layout.script_of(layout.TRAINING), query_params=address)
        with parts.happened:
            # A decision that waits comes first; below a long report nobody finds it.
            conflicts = dataset_problems.draw_conflicts(folder, index)
            told = [conflicts, dataset_import.result(ws, st.session_state["dataset"]), bool(problems)]
            dataset_problems.draw(problems)
            if not any(told):
                parts.nothing_yet()
