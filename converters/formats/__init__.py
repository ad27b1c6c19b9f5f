"""A dataset folder in the layouts of other detectors and of annotation tools: one file a format."""
