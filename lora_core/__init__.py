"""Everything the app does that works without a page.

Covered: datasets, settings, training, jobs, LoRA files. Not covered: drawing anything;
this package never imports streamlit.
"""
