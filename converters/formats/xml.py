"""Write XML: indented, in the order given."""

from xml.etree import ElementTree as ET  # only writes


def add(parent: ET.Element, tag: str, text: str | None = None) -> ET.Element:
    """Append a child element."""
    child = ET.SubElement(parent, tag)
    child.text = text
    return child


def xml_text(root: ET.Element) -> str:
    """The file's text."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", short_empty_elements=False) + "\n"
