"""Images and captions: import, scan, index, buckets, edits with undo."""
