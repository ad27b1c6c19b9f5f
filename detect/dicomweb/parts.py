"""Write the parts of a multipart/related answer to files as they arrive."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from detect.dicomweb.server import ServerError, broken_off

MOST_PARTS = 20_000


def boundary(content_type: str) -> bytes:
    """Return the boundary that a Content-Type states.

    Raises:
        ServerError: it is none of a multipart answer.
    """
    kind, options = parse_options_header(content_type)
    between = options.get(b"boundary", b"")
    if kind.lower() != b"multipart/related" or not between:
        raise ServerError(
            "answers with something other than multipart/related", "check that it speaks WADO-RS"
        )
    return between


def write_parts(pieces: Iterable[bytes], between: bytes, folder: Path) -> int:
    """Write each part into `folder` under its SHA-256.

    The name does not depend on the order in which they arrive, and is never the server's.

    Args:
        pieces: of the body.
        between: the boundary.
        folder: empty.

    Returns:
        The number of parts.

    Raises:
        ServerError: the last boundary never came, or it is not a multipart body.
    """
    writer = _Writer(folder)
    try:
        parser = MultipartParser(
            between,
            {
                "on_part_begin": writer.begin,
                "on_part_data": writer.data,
                "on_part_end": writer.end,
                "on_end": writer.finish,
            },
        )
        for piece in pieces:
            parser.write(piece)
    except FormParserError:
        raise ServerError("sends a malformed answer", "see the server's log") from None
    finally:
        writer.close()
    if not writer.finished:
        raise broken_off()
    return writer.count


class _Writer:
    """Callbacks of the parser that write each part to a file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count, self.finished = folder, 0, False
        self._unnamed = folder / "part"
        self._file: BinaryIO | None = None
        self._digest = hashlib.sha256()

    def begin(self) -> None:
        self.count += 1
        if self.count > MOST_PARTS:
            raise ServerError(f"sends more than {MOST_PARTS} objects", "ask for a single series")
        self._file, self._digest = self._unnamed.open("wb"), hashlib.sha256()

    def data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            view = memoryview(data)[start:end]
            self._file.write(view)
            self._digest.update(view)

    def end(self) -> None:
        self.close()
        self._unnamed.replace(self.folder / f"{self._digest.hexdigest()}.dcm")

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
