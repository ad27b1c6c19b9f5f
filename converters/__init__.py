"""Volumes and masks on disk in, a detection dataset on disk out. Knows nothing of detectors."""
