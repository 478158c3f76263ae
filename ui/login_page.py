"""The one page that somebody without a cookie sees, and the short texts beside it.

Covered: plain HTML without a script or a picture, in the colours of the app, light and dark, for a keyboard,
a screen reader and a password manager. Not covered: when it is shown (`ui/gate.py`).
"""

import base64
import hashlib
from html import escape
from typing import Final

APP: Final = "LoRA Easy Trainer"

# The colours are those of .streamlit/config.toml; a test compares them. The page cannot load a file: nothing
# is served without the cookie.
STYLE: Final = """
:root { color-scheme: light dark;
  --page: #F5F2EA; --panel: #EAE6DB; --text: #33312E; --button: #2B5F6B; --line: #7F7B72;
  --care: #6B4A00; --care-page: #F6EBCF; }
@media (prefers-color-scheme: dark) { :root {
  --page: #1D1F21; --panel: #272A2D; --text: #E4E1DA; --button: #357E8D; --line: #8A8F94;
  --care: #E8CF94; --care-page: #3A3018; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem; background: var(--page); color: var(--text);
  font: 17px/1.6 "Source Sans", "Source Sans 3", system-ui, sans-serif; }
main { max-width: 34rem; margin: 0 auto; }
h1 { font-size: 1.6rem; line-height: 1.3; margin: 0 0 1rem; }
label { display: block; font-weight: 600; margin: 1.5rem 0 .4rem; }
input { width: 100%; min-height: 2.75rem; padding: .5rem .75rem; font: inherit; color: inherit;
  background: var(--panel); border: 1px solid var(--line); border-radius: .3rem; }
button { min-height: 2.75rem; margin-top: 1rem; padding: .5rem 1.5rem; font: inherit; font-weight: 600;
  color: #FFFFFF; background: var(--button); border: 1px solid var(--button); border-radius: .3rem;
  cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid #000; box-shadow: 0 0 0 6px #fff; }
code { padding: .1rem .3rem; background: var(--panel); border-radius: .2rem; overflow-wrap: anywhere; }
.care { padding: .75rem 1rem; color: var(--care); background: var(--care-page); border-radius: .3rem; }
"""

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of these pages: no script, nothing from elsewhere, and no frame round them."""


def login(problem: str = "") -> str:
    """The page that asks for the token. `problem` says why the last try did not work."""
    told = f'<p class="care" id="problem" role="alert">{escape(problem)}</p>' if problem else ""
    state = (
        ' aria-invalid="true" aria-describedby="problem where"' if problem else ' aria-describedby="where"'
    )
    # The form goes to the address it is shown at, so that a person lands where they wanted to go. Password
    # managers keep a secret under a name; the field with the name is not shown, because there is only one.
    return _page(
        "Sign in",
        f"""{told}
<p>This app asks for its access token. The token keeps everybody else out.</p>
<form method="post" accept-charset="utf-8">
<input type="text" name="username" value="{APP}" autocomplete="username" hidden>
<label for="token">Access token</label>
<input type="password" id="token" name="token" autocomplete="current-password" autocapitalize="none"
 spellcheck="false" maxlength="2048" required autofocus{state}>
<button type="submit">Sign in</button>
</form>
<p id="where">The token is in the link that was printed where the app was started.
You can paste the whole link here. To see the link again, run <code>python3 start.py --link</code>
on that computer, in the folder of the app.</p>
<p>This browser stays signed in for 30 days.</p>""",
    )


def refusal(title: str, why: str, fix: str) -> str:
    """A page that says why nothing is shown, and what to do."""
    return _page(title, f'<p class="care">{escape(why)}</p>\n<p>{escape(fix)}</p>')


def _page(title: str, body: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{escape(title)} - {APP}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
{body}
</main>
</body>
</html>
"""
