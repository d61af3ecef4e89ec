"""How far a bundle may be from PyTorch in FP32, by precision. The manifest of each bundle carries its own.

Measured on `edge`, scene-0061 of the real mini stream, 20 ticks (docs/benchmarks/precision.md): largest and mean
difference of the state 2.1e-2 and 7.8e-4 in FP16, 3.1e-1 and 2.7e-2 in INT8 (both of what the tokeniser tells, which
is sums over 2048 channels); of the trajectory 6.5e-5 and 4.6e-4; voxels that differ 1.4e-7 and 4.6e-6. The limits are
five times that and more: other scenes and weights differ more, a wrong weight by far more. What is decided from tokens
alone is which slot takes what, at a cosine of 0.9 give or take the rounding. Those of mIoU and of columns are what a
precision may cost at all.
"""

from __future__ import annotations

from deploy.spec import ParityLimits

LIMITS = {
    "fp32": ParityLimits(),
    "fp16": ParityLimits(
        state_max=0.1,
        state_mean=4e-3,
        decided_otherwise=1e-2,
        trajectory_max=5e-4,
        confidence_mean=1e-4,
        differing_voxels=1e-4,
        miou_difference=0.1,
        more_columns=0.01,
    ),
    "int8": ParityLimits(
        state_max=1.5,
        state_mean=0.12,
        decided_otherwise=5e-2,
        trajectory_max=5e-3,
        confidence_mean=1e-3,
        differing_voxels=5e-4,
        miou_difference=0.5,
        more_columns=0.05,
    ),
}
