"""Which icon stands for which meaning.

Covered: every icon of the app, one meaning each. Not covered: drawing them; Streamlit takes the names as they
are. An icon never stands without a word. A name that Streamlit does not know breaks a page, so a test draws
them all.
"""

from typing import Final

HOME: Final = ":material/home:"
SETUP: Final = ":material/computer:"
DATASET: Final = ":material/photo_library:"
TRAINING: Final = ":material/model_training:"
UTILITIES: Final = ":material/handyman:"
HELP: Final = ":material/help:"

GOOD: Final = ":material/check_circle:"
CARE: Final = ":material/info:"
PROBLEM: Final = ":material/error:"
NOTE: Final = ":material/sticky_note_2:"

START: Final = ":material/play_arrow:"
STOP: Final = ":material/stop:"
RESUME: Final = ":material/resume:"
FORCE: Final = ":material/cancel:"
GO: Final = ":material/arrow_forward:"
EARLIER: Final = ":material/arrow_back:"
CHECK: Final = ":material/search:"
DOWNLOAD: Final = ":material/download:"
ADD: Final = ":material/add:"
UNDO: Final = ":material/undo:"
SAVE: Final = ":material/save:"
CHANGED: Final = ":material/edit:"
BACK: Final = ":material/settings_backup_restore:"
REDO: Final = ":material/redo:"
MEND: Final = ":material/build:"
REMOVE: Final = ":material/remove:"
OPEN: Final = ":material/folder_open:"
TRY: Final = ":material/speed:"
AGAIN: Final = ":material/replay:"
LONGER: Final = ":material/more_time:"
RUNNING: Final = ":material/pending_actions:"
UP: Final = ":material/arrow_upward:"
DOWN: Final = ":material/arrow_downward:"
PAUSE: Final = ":material/pause:"
SAMPLE: Final = ":material/image:"
HOLD: Final = ":material/front_hand:"
CLOCK: Final = ":material/schedule:"
TAKE: Final = ":material/move_down:"
MESSAGE: Final = ":material/send:"

ALL: Final = {
    name: value for name, value in list(globals().items()) if name.isupper() and isinstance(value, str)
}
"""Every meaning with its icon; what the tests draw and compare."""
