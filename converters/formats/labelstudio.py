"""Write Label Studio: `tasks.json` with boxes in percent, `labels.xml` and `images/SPLIT/`."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # only writes

from converters.core.files import write_json, write_text
from converters.formats.content import Content, Format, Picture, xml_text

NOTES = """\
tasks.json, labels.xml (the labeling interface) and images/{train,val,test}/.
Start Label Studio with

    LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true
    LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=THIS FOLDER

make a project with labels.xml as its labeling interface, add images/ of this folder to it as a
local storage (which permits the files to be served; there is no need to synchronise it), and import
tasks.json. Pictures are named as /data/local-files/?d=images/SPLIT/NAME.
x, y, width, height are percent of the picture, x and y of the upper left corner. A picture without
boxes has an annotation with an empty result. The text of a region names its 3D lesion.
"""


def place(split: str, name: str) -> str:
    """Return the path of a picture below the export."""
    return f"images/{split}/{name}"


def write(folder: Path, content: Content) -> None:
    """Write the tasks and the labeling interface."""
    pictures = [picture for split in content.splits.values() for picture in split]
    tasks = [_task(content, index, picture) for index, picture in enumerate(pictures, start=1)]
    write_json(folder / "tasks.json", tasks)
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image")
    labels = ET.SubElement(view, "RectangleLabels", name="label", toName="image")
    for name in content.class_names:
        ET.SubElement(labels, "Label", value=name)
    write_text(folder / "labels.xml", xml_text(view))


def _task(content: Content, index: int, picture: Picture) -> dict[str, Any]:
    w, h = picture.width, picture.height
    result = [
        {
            "id": f"{index}-{k}",
            "type": "rectanglelabels",
            "from_name": "label",
            "to_name": "image",
            "original_width": w,
            "original_height": h,
            "image_rotation": 0,
            "value": {
                "x": 100 * box.x / w,
                "y": 100 * box.y / h,
                "width": 100 * box.width / w,
                "height": 100 * box.height / h,
                "rotation": 0,
                "rectanglelabels": [content.class_names[box.label]],
            },
            "meta": {
                "text": [f"lesion {box.coco['lesion_id']}"] if "lesion_id" in box.coco else []
            },
        }
        for k, box in enumerate(picture.boxes)
    ]
    return {
        "id": index,
        "data": {
            "image": f"/data/local-files/?d={place(picture.split, picture.name)}",
            "split": picture.split,
            "case": picture.coco.get("case_id"),
            "patient": picture.coco.get("patient_id"),
            "slice": picture.coco.get("slice_index"),
        },
        "annotations": [{"result": result}],
    }


FORMAT = Format(place, write, NOTES)
