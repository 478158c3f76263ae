"""The measured promises of this app, each against what a user would pick instead: `python -m benchmarks`.

docs/benchmarks.md says what each benchmark measures and holds the last figures. Not covered: whether
things are right; that is what the tests are for.
"""
