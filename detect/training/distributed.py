"""Training on several processors: one process each, started here or by torchrun."""

import os
import subprocess
import sys
from datetime import timedelta

import torch
import torch.distributed as dist

from converters.core.errors import ParameterError

WAIT = timedelta(hours=3)  # the first process scores val alone, while the others wait


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Return the number of processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_first() -> bool:
    """Tell the process that writes and reports from the others."""
    return rank() == 0


def join() -> None:
    """Meet the other processes; nothing happens where there is one."""
    if world() > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo", timeout=WAIT)


def wait() -> None:
    """Wait until all processes are here."""
    if world() > 1:
        dist.barrier()


def run_on(devices: str) -> int | None:
    """Run this command anew, one process for each of several GPUs.

    Returns:
        The exit code; None where torchrun has started this process already.

    Raises:
        InputError: a GPU that is not there.
    """
    if "RANK" in os.environ:
        return None
    count, available = len(devices.split(",")), torch.cuda.device_count()
    for name in devices.split(","):
        if not name.isdigit() or int(name) >= available:
            raise ParameterError(
                "device", f"GPU {name} is not there", f"{available} found; use cpu"
            )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += [f"--nproc-per-node={count}", "-m", "detect", *sys.argv[1:]]
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": devices}
    return subprocess.run(command, env=environment, check=False).returncode  # noqa: S603
