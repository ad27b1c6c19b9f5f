"""Conversion of scans and masks to a dataset folder."""
