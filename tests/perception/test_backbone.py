"""The backbone takes torchvision's ResNet-18 weights: names and shapes are those of its state dict."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from calib.errors import InputError
from perception.backbone import Backbone, load_resnet18, read_resnet18


def torchvision_resnet18() -> dict[str, torch.Tensor]:
    """Names and shapes of torchvision.models.resnet18().state_dict(), written down from its source; random values."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, 3, 7, 7)}

    def norm(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    norm("bn1", 64)
    for layer, width in enumerate((64, 128, 256, 512), start=1):
        for block in range(2):
            given = width if block or layer == 1 else width // 2
            name = f"layer{layer}.{block}"
            shapes[f"{name}.conv1.weight"] = (width, given, 3, 3)
            norm(f"{name}.bn1", width)
            shapes[f"{name}.conv2.weight"] = (width, width, 3, 3)
            norm(f"{name}.bn2", width)
            if given != width:
                shapes[f"{name}.downsample.0.weight"] = (width, given, 1, 1)
                norm(f"{name}.downsample.1", width)
    shapes["fc.weight"], shapes["fc.bias"] = (1000, 512), (1000,)
    return {n: torch.rand(s) if s else torch.tensor(7) for n, s in shapes.items()}


def test_loads_all_122_tensors_of_torchvisions_resnet18() -> None:
    weights, backbone = torchvision_resnet18(), Backbone(64, 32)
    assert len(weights) == 122
    load_resnet18(backbone, weights)
    state = backbone.state_dict()
    for name, tensor in weights.items():
        if not name.startswith("fc."):
            assert torch.equal(state[name], tensor), name
    assert {n for n in state if not n.startswith("neck.")} == {n for n in weights if not n.startswith("fc.")}


def test_another_width_or_another_network_is_refused() -> None:
    with pytest.raises(InputError, match="backbone_width=64"):
        load_resnet18(Backbone(32, 32), torchvision_resnet18())
    lacking = torchvision_resnet18()
    del lacking["layer3.1.conv2.weight"]
    with pytest.raises(InputError, match=r"no layer3\.1\.conv2\.weight"):
        load_resnet18(Backbone(64, 32), lacking)


def test_reads_a_pth_file_and_refuses_what_is_none(tmp_path: Path) -> None:
    path = tmp_path / "resnet18.pth"
    torch.save({"conv1.weight": torch.ones(2)}, path)
    assert torch.equal(read_resnet18(path)["conv1.weight"], torch.ones(2))
    (tmp_path / "bad.pth").write_text("no weights")
    with pytest.raises(InputError, match=r"bad\.pth"):
        read_resnet18(tmp_path / "bad.pth")
    with pytest.raises(InputError, match="no such file"):
        read_resnet18(tmp_path / "absent.pth")


def test_features_are_at_stride_8_and_change_with_any_part_of_their_surroundings() -> None:
    backbone = Backbone(16, 24).eval()
    image = torch.rand(1, 3, 128, 352)
    with torch.no_grad():
        features = backbone(image).eighth
        assert features.shape == (1, 24, 16, 44)
        image[..., 60:68, 170:178] += 1.0
        changed = (backbone(image).eighth - features).abs().sum(1)[0]
    assert changed[8, 22] > 0 and changed[8, 20] > 0
