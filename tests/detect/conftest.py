import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ultralytics_offline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let ultralytics be imported without network access and without writing to the home folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "YOLO_OFFLINE", "true")
        patch.setitem(os.environ, "YOLO_CONFIG_DIR", str(tmp_path_factory.mktemp("ultralytics")))
        yield
