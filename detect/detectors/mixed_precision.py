"""Where training computes in bfloat16: it is faster where the processor has it, and only there."""

import torch


def trains_in_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 in its own circuits.

    Weights, their averages and scores on val stay in float32 everywhere.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
