"""Text from files and users is shown as it is: no name can become a heading, a link or an icon."""

import pytest
from streamlit.testing.v1 import AppTest

from ui import feedback


@pytest.mark.parametrize(
    "text", ["my_cat_v2", "*new* [a](b)", "# 1", "- one", ":material/home: x", "$a$ and $b$", "<b>bold</b>"]
)
def test_no_mark_survives(text: str) -> None:
    shown = feedback.spoken(text)
    for mark in "*_[]<>$:":
        assert shown.count(mark) == shown.count(f"\\{mark}")
    assert not shown.startswith(("# ", "- "))


def test_plain_sentences_stay_as_they_are() -> None:
    assert feedback.spoken("The memory was full. Lower it (a bit), then go on!") == (
        "The memory was full. Lower it (a bit), then go on!"
    )


def test_a_mistake_of_ours_is_told_calmly_with_its_details_in_a_closed_box() -> None:
    def script() -> None:
        from ui import feedback

        try:
            raise ZeroDivisionError("on purpose")
        except ZeroDivisionError as error:
            feedback.unexpected(error)

    app = AppTest.from_function(script, default_timeout=240).run()
    assert not app.exception
    (told,) = app.error
    assert "Your files and your training are as they were." in told.value
    assert "ZeroDivisionError" not in told.value
    assert app.expander[0].label == feedback.DETAILS
    assert "on purpose" in app.expander[0].code[0].value


def test_names_in_messages_and_problems_are_shown_as_they_are() -> None:
    def script() -> None:
        from lora_core.errors import Problem
        from ui import feedback

        feedback.problem("my_cat_v2 failed", why="![x](http://a.example/p.png)", fix="*Rename* it.")
        feedback.care("", title="a_b_c", lines=["[one](x)", "# two"])
        feedback.problem_list([Problem(setting="", what="There is no folder my_cat_v2.", fix="Make it.")])

    app = AppTest.from_function(script, default_timeout=240).run()
    assert app.error[0].value == r"!\[x\](http\://a.example/p.png) \*Rename\* it."
    assert app.warning[0].value == "- \\[one\\](x)\n- \\# two"
    assert app.warning[1].value == r"- There is no folder my\_cat\_v2. Make it."


@pytest.mark.parametrize(
    "text", ["&copy; &lt;b&gt;", "a -> b <- c -- d >= e", "www.example.com", "me@example.com"]
)
def test_nothing_is_made_a_sign_or_a_link(text: str) -> None:
    shown = feedback.spoken(text)
    assert shown.replace("\\", "").replace("\u200b", "") == text
    for made in ("; &", "-> ", "<- ", "-- ", ">= ", "www.", "@e"):
        assert made not in shown.replace("\\>", ">").replace("\\<", "<")


def test_a_name_that_is_written_from_right_to_left_stands_by_itself() -> None:
    assert feedback.spoken("Training “אבג” 3") == "Training “\u2068אבג\u2069” 3"
    assert feedback.spoken("“\u202eabc”, done") == "“abc”, done", "a mark that would turn all that follows"
