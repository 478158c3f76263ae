"""How hard a text is to read: the Flesch-Kincaid grade, as texts for users are measured.

Covered: English text, without the key names in it. Not covered: whether it is true, or kind.
"""

import re
from typing import Final

import textstat

HIGHEST_GRADE: Final = 8.0
_CODE: Final = re.compile(r"`[^`]*`")


def grade(text: str) -> float:
    """The school year that can read `text`; names written as code are left out of the measure."""
    return float(textstat.flesch_kincaid_grade(" ".join(_CODE.sub(" ", text).split())))
