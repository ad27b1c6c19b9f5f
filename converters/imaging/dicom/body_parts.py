"""Know DICOM's terms for the part of the body that a scan shows."""

from collections.abc import Iterable

_REGIONS: dict[str, str] = {  # Body Part Examined (PS3.16, Annex L): the regions it lies in
    "ABDOMEN": "abdomen",
    "ABDOMENPELVIS": "abdomen pelvis",
    "ADRENAL": "abdomen",
    "ANKLE": "leg",
    "ARM": "arm",
    "BLADDER": "pelvis",
    "BRAIN": "head",
    "BREAST": "chest",
    "CHEST": "chest",
    "CHESTABDOMEN": "chest abdomen",
    "CHESTABDPELVIS": "chest abdomen pelvis",
    "COLON": "abdomen pelvis",
    "CSPINE": "neck",
    "ELBOW": "arm",
    "FOOT": "leg",
    "FOREARM": "arm",
    "GALLBLADDER": "abdomen",
    "HAND": "arm",
    "HEAD": "head",
    "HEADNECK": "head neck",
    "HEART": "chest",
    "HIP": "pelvis leg",
    "HUMERUS": "arm",
    "KIDNEY": "abdomen",
    "KNEE": "leg",
    "LEG": "leg",
    "LIVER": "abdomen",
    "LSPINE": "abdomen",
    "LUNG": "chest",
    "MEDIASTINUM": "chest",
    "NECK": "neck",
    "NECKCHEST": "neck chest",
    "NECKCHESTABDOMEN": "neck chest abdomen",
    "NECKCHESTABDPELV": "neck chest abdomen pelvis",
    "ORBIT": "head",
    "PANCREAS": "abdomen",
    "PELVIS": "pelvis",
    "PROSTATE": "pelvis",
    "RECTUM": "pelvis",
    "SHOULDER": "arm chest",
    "SKULL": "head",
    "SPLEEN": "abdomen",
    "STOMACH": "abdomen",
    "THIGH": "leg",
    "THYROID": "neck",
    "TSPINE": "chest",
    "WHOLEBODY": "head neck chest abdomen pelvis arm leg",
    "WRIST": "arm",
}
BODY_PARTS = frozenset(_REGIONS)


def body_part_code(text: str) -> str:
    """Return a term of Body Part Examined if DICOM defines it, else `""`.

    Other text may name somebody.
    """
    term = text.strip().upper()
    return term if term in BODY_PARTS else ""


def contradict(part: str, others: Iterable[str]) -> bool:
    """Check whether a scan of a body part shows nothing of any of the others.

    An unknown part contradicts nothing.

    So `LIVER` fits `ABDOMEN`, `CHESTABDPELVIS` fits both, and `HEAD` fits none of them.
    """
    shown = set(_REGIONS.get(part, "").split())
    known = {region for other in others for region in _REGIONS.get(other, "").split()}
    return bool(shown and known) and not shown & known
