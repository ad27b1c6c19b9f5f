"""Annotations of every kind, turned into lesions and 2D components."""
