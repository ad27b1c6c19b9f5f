"""How many threads a network runs in where nobody says."""

import os


def default_threads() -> int:
    """As many as torch takes: OMP_NUM_THREADS, or one a core that this process may use."""
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdigit() and int(asked) else len(os.sched_getaffinity(0))
