"""Detections that other tools made, turned into boxes on the pictures of a split."""
