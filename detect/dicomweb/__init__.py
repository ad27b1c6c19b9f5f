"""Scans from a DICOMweb server, and results back to it."""
