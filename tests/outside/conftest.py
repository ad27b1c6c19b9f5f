from tests.evaluation.conftest import ultralytics_offline  # noqa: F401
