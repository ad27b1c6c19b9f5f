"""Errors, files, locks, progress, worker pools, boxes and drawing: what every room stands on."""
