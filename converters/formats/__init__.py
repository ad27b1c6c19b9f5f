"""Layouts of other detectors and of annotation tools: one file a format."""
