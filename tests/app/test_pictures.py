"""Rows of pictures: what a prompt or a file name holds can never become HTML of the page."""

from streamlit.testing.v1 import AppTest

from ui.thumb_routes import sample_url


def test_nothing_in_a_prompt_or_a_name_becomes_html() -> None:
    def script() -> None:
        from ui import pictures

        nasty = '"><script>alert(1)</script><img src=x onerror="alert(2)">'
        pictures.row([pictures.Picture(address=f"/samples/a/{nasty}", alt=nasty, caption=nasty)])

    (drawn,) = AppTest.from_function(script, default_timeout=240).run().get("html")
    body = drawn.proto.body
    assert "<script" not in body
    assert body.count("<img") == 1
    assert body.count('"') == 2 * len(["class", "src", "alt", "width", "height", "loading"])


def test_an_address_is_made_of_quoted_parts() -> None:
    assert sample_url("a/../b", "x y.png") == "/samples/a%2F..%2Fb/x%20y.png"
