"""Store results in the study that they belong to (STOW-RS)."""

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detect.dicomweb.address import Address
from detect.dicomweb.server import Server, ServerError

_FAILED, _REASON = "00081198", "00081197"


def store(server: Server, address: Address, files: Sequence[Path]) -> None:
    """Store DICOM objects; the same objects again change nothing on the server.

    Raises:
        ServerError: it did not take all of them.
    """
    between = secrets.token_hex(16)  # chance keeps it out of the objects
    content_type = f'multipart/related; type="application/dicom"; boundary={between}'
    head = f"--{between}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    body = b"".join(part for file in files for part in (head, file.read_bytes(), b"\r\n"))
    body += f"--{between}--\r\n".encode()
    answer = server.post(f"/studies/{address.study}", content_type, body)
    if reasons := _refused(answer):
        raise ServerError(
            f"did not store {len(reasons)} of {len(files)} objects (reason {reasons[0]})",
            "see its log",
        )


def _refused(answer: Any) -> list[str]:
    """Return the failure reasons (PS3.3, C.14) in a response, in hexadecimal."""
    response = answer[0] if isinstance(answer, list) and answer else answer
    failed = response.get(_FAILED) if isinstance(response, dict) else None
    items = failed.get("Value") if isinstance(failed, dict) else None
    reasons = []
    for item in items if isinstance(items, list) else []:
        try:
            reasons.append(f"{int(item[_REASON]['Value'][0]):04X}")
        except (KeyError, IndexError, TypeError, ValueError):
            reasons.append("not stated")
    return reasons
