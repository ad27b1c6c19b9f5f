"""Paint a seeded abdomen CT with liver lesions: data that needs no download."""

from detect.phantom.cases import CLASSES, make_case, make_phantom

__all__ = ["CLASSES", "make_case", "make_phantom"]
