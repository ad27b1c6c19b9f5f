"""Retrieve scans from a DICOMweb server, and store results on it."""
