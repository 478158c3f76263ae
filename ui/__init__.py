"""What the pages share: the frame, messages, charts, forms, and the gate in front of everything.

Not covered: anything that works without a browser; that is `lora_core`.
"""
