"""Recipes: how a dataset lies on disk and what its labels mean."""
