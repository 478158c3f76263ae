"""The entry that `streamlit run Home.py` runs: the server's application, and the frame round every page.

Covered: the gate in front of every request, the picture routes, the navigation. Not covered: what the pages
show (`pages/`, `ui/`) and the set-up of the machine (`start.py`).

The server imports this file once, as a module, to find `app`. Each script run (a tab, a test) executes it as
`__main__`. So there is no `app.run()` under the main guard: it would start a server from inside a page.
"""

# Imported here, in one thread, before any page: a first chart in a fragment otherwise meets a half imported
# pandas in another thread (Streamlit 1.67, seen on a cold start).
import pandas as pd  # noqa: F401  see above
import plotly.graph_objects  # noqa: F401  see above
import streamlit as st

if __name__ == "__main__":
    from ui import shell

    shell.render()
else:
    from ui import server

    app = st.App(
        __file__,
        routes=server.routes(),
        middleware=server.middleware(),
        lifespan=server.lifespan,
        on_script_error=server.on_script_error,
    )
