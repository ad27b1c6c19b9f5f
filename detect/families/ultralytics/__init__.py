"""YOLO and RT-DETR through ultralytics (AGPL-3.0), which only this folder imports."""

import atexit
import os
import shutil
import tempfile

# All of this must be said before ultralytics is imported, since it acts on import: it asks the
# network whether it is online, writes settings to the user's home and takes one thread for itself.
os.environ["YOLO_OFFLINE"] = "true"
os.environ["YOLO_AUTOINSTALL"] = "false"
os.environ["YOLO_VERBOSE"] = "false"
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count()))
if "YOLO_CONFIG_DIR" not in os.environ:
    _settings = tempfile.mkdtemp(prefix="detect-ultralytics-")
    atexit.register(shutil.rmtree, _settings, ignore_errors=True)
    os.environ["YOLO_CONFIG_DIR"] = _settings
