"""Pictures as tests read them: the texts of an SVG, and how wide a PNG is."""

from __future__ import annotations

import struct
from pathlib import Path
from xml.etree import ElementTree


def texts(path: Path) -> list[str]:
    """Every text of a picture, in its order; a picture that is not well-formed is refused."""
    builder = ElementTree.TreeBuilder(insert_comments=True)
    root = ElementTree.parse(path, ElementTree.XMLParser(target=builder)).getroot()
    assert root.tag.endswith("svg")
    return [str(part.text).strip() for part in root.iter(ElementTree.Comment)]


def size(path: Path) -> tuple[int, int]:
    """Width and height of a PNG, in pixels."""
    head = path.read_bytes()[:24]
    assert head.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", head[16:])
    return width, height
