"""What `python3 start.py` does: make the environment, then start the app or run the tests.

Covered: choosing torch by the machine, a virtual environment that is complete or made anew, clear words
for every way this can end, the app's server with its address, and the test run. Standard library only,
because nothing is installed yet when it runs.

Not covered: the app itself (Home.py), its sign-in (ui/gate.py) and its tunnel (ui/share.py), which run
inside the environment.
"""
