"""Open the pool of local processes or cluster workers that a request names."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.core.pool import Pool
from converters.core.process_pool import Processes


def open_pool(
    workers: int, scheduler: str | None, needs: Mapping[str, str], sees: Sequence[Path]
) -> Pool | None:
    """Open a pool of workers; None: this process does the work.

    Args:
        workers: processes of this machine.
        scheduler: address of a dask scheduler, whose workers are taken instead.
        needs: package → version that a cluster's workers must have.
        sees: absolute paths that a cluster's workers must see as this process does.

    Raises:
        WorkersError: the cluster cannot be reached or is of other versions.
    """
    if scheduler is not None:
        from converters.core.dask_pool import Cluster

        return Cluster(scheduler, needs, sees)
    return Processes(workers) if workers > 1 else None
