"""Errors, files, locks, progress, worker pools, boxes and drawing, for all other packages."""
