"""How far a bundle may be from PyTorch in FP32, by precision. The manifest of each bundle carries its own."""

from __future__ import annotations

from deploy.spec import ParityLimits

LIMITS = {
    "fp32": ParityLimits(),
    "fp16": ParityLimits(),
    "int8": ParityLimits(),
}
