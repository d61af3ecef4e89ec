"""ResNet-18 (He et al. 2015) with the parameter names of torchvision's, so that its ImageNet weights load at width 64.

N images, H x W px; features at strides 8, 16 and 32 are brought together at stride 8. Those of the first stage, at
stride 4, know little of what a thing is and better where it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from calib.errors import InputError

STRIDE = 8  # px of an image a feature


class Features(NamedTuple):
    """Of images: C channels brought together at stride 8, and the D of the first stage at stride 4."""

    eighth: Float[Tensor, "N C h w"]
    quarter: Float[Tensor, "N D h2 w2"]


class BasicBlock(nn.Module):
    def __init__(
        self, given: int, width: int, stride: int = 1, norm: Callable[[int], nn.Module] = nn.BatchNorm2d
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(given, width, 3, stride, 1, bias=False)
        self.bn1 = norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = norm(width)
        self.downsample = None
        if stride != 1 or given != width:
            self.downsample = nn.Sequential(nn.Conv2d(given, width, 1, stride, bias=False), norm(width))

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N D h w"]:
        kept = x if self.downsample is None else self.downsample(x)
        x = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(x)) + kept)


class Backbone(nn.Module):
    """Images to features."""

    def __init__(self, width: int, channels: int) -> None:
        """width: of the first stage; ResNet-18's is 64. channels: of the features."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(width, width), BasicBlock(width, width))
        self.layer2 = nn.Sequential(BasicBlock(width, 2 * width, 2), BasicBlock(2 * width, 2 * width))
        self.layer3 = nn.Sequential(BasicBlock(2 * width, 4 * width, 2), BasicBlock(4 * width, 4 * width))
        self.layer4 = nn.Sequential(BasicBlock(4 * width, 8 * width, 2), BasicBlock(8 * width, 8 * width))
        self.neck = Neck((2 * width, 4 * width, 8 * width), channels)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> Features:
        quarter = self.layer1(self.maxpool(functional.relu(self.bn1(self.conv1(images)))))
        eighth = self.layer2(quarter)
        sixteenth = self.layer3(eighth)
        return Features(self.neck(eighth, sixteenth, self.layer4(sixteenth)), quarter)


class Neck(nn.Module):
    """Strides 8, 16, 32 to one at 8: the coarse ones say what it is, the fine one where."""

    def __init__(self, given: tuple[int, int, int], channels: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(g, channels, 1) for g in given)
        self.smooth = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()
        )

    def forward(self, eighth: Tensor, sixteenth: Tensor, thirtysecond: Tensor) -> Tensor:
        fine, middle, coarse = (
            lateral(x) for lateral, x in zip(self.lateral, (eighth, sixteenth, thirtysecond), strict=True)
        )
        middle = middle + functional.interpolate(coarse, scale_factor=2.0, mode="nearest")
        smoothed: Tensor = self.smooth(fine + functional.interpolate(middle, scale_factor=2.0, mode="nearest"))
        return smoothed


def load_resnet18(backbone: Backbone, weights: Mapping[str, Tensor], source: Path | str = "the weights") -> None:
    """Copies a state dict of torchvision's resnet18; its classifier (fc) is left out, the neck stays as it is.

    Raises:
        InputError: a name is missing, or a shape differs (another width than 64).
    """
    own = {n: t for n, t in backbone.state_dict().items() if not n.startswith("neck.")}
    given = {n: t for n, t in weights.items() if not n.startswith("fc.")}
    # Weights from before torchvision 0.3 have no counters of batches; nothing reads them.
    missing = sorted(n for n in own if n not in given and not n.endswith("num_batches_tracked"))
    odd = sorted(n for n in given if n not in own or own[n].shape != given[n].shape)
    for name in (*missing, *odd):
        found = f"{name} {list(given[name].shape)}" if name in given else f"no {name}"
        expected = f"{list(own[name].shape)}" if name in own else "the names of torchvision's resnet18"
        raise InputError(
            found, expected=expected, fix="use ResNet-18 weights, with model.backbone_width=64", path=source
        )
    backbone.load_state_dict(dict(given), strict=False)


def read_resnet18(path: Path) -> dict[str, Tensor]:
    """A state dict from a .safetensors or a .pth file; nothing in it is executed.

    Raises:
        InputError: no such file, or not a dict of tensors.
    """
    if not path.is_file():
        raise InputError("no such file", expected="ResNet-18 weights", fix="check the path", path=path)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(str(path)))
        return dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # each library has its own
        raise InputError(
            f"cannot be read ({type(error).__name__})",
            expected="a state dict as .safetensors or .pth",
            fix="download the file again",
            path=path,
        ) from error
