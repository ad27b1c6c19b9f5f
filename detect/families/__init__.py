"""Detector families, one folder each, imported only when a model of theirs is used."""
