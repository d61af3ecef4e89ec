"""One network for lidar, cameras and both; and its export."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from calib.rig import Rig
from perception.config import ModelConfig
from perception.lift import LiftIndex
from perception.model import Inputs, OccupancyNet
from perception.paint import returned
from perception.prepare import plan_rig
from perception.types import NUM_CLASSES
from perception.voxelize import FEATURES

# Real sizes of grid and images, few channels.
SMALL = ModelConfig(backbone_width=8, camera_channels=8, bev_channels=16, fine_channels=8)


@pytest.fixture(scope="module")
def inputs(nuscenes_rig: Rig) -> Inputs:
    generator = torch.Generator().manual_seed(3)
    lidar = (torch.rand(1, len(FEATURES), 16, 200, 200, generator=generator) < 0.02).to(torch.uint8) * 90
    images = torch.randn(1, 6, 3, 128, 352, generator=generator)
    return Inputs(lidar, images, torch.ones(1, 6), LiftIndex.of(plan_rig(nuscenes_rig, SMALL).table))


@pytest.fixture(scope="module")
def network() -> OccupancyNet:
    torch.manual_seed(0)
    network = OccupancyNet(SMALL)
    for module in network.modules():  # statistics as after a training: no two channels alike
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network.eval()


@torch.no_grad()
def test_each_sensor_may_be_absent_and_each_matters(network: OccupancyNet, inputs: Inputs) -> None:
    both = network(inputs)
    assert both.logits.shape == (1, NUM_CLASSES, 16, 200, 200)
    assert both.semantics().shape == (1, 200, 200, 16) and both.semantics().dtype == torch.uint8
    lidar = network(inputs._replace(images=None, present=None, lifting=None))
    camera = network(inputs._replace(lidar=None))
    assert lidar.depth is None and camera.depth is not None
    for one, other in ((both, lidar), (both, camera), (lidar, camera)):
        assert (one.logits - other.logits).abs().mean() > 1e-4
    with pytest.raises(ValueError, match="no input"):
        network(Inputs(None, None, None, None))


@torch.no_grad()
def test_a_sensor_of_which_nothing_but_zeros_is_given_is_absent(network: OccupancyNet, inputs: Inputs) -> None:
    """So a graph is told, which has the same inputs every time: it says what the network was trained to say."""
    assert inputs.lidar is not None and inputs.images is not None and inputs.present is not None
    dark = inputs._replace(images=torch.zeros_like(inputs.images), present=torch.zeros_like(inputs.present))
    lidar = network(inputs._replace(images=None, present=None, lifting=None))
    torch.testing.assert_close(network(dark).logits, lidar.logits)
    silent = network(inputs._replace(lidar=torch.zeros_like(inputs.lidar)))
    torch.testing.assert_close(silent.logits, network(inputs._replace(lidar=None)).logits)


@torch.no_grad()
def test_images_paint_what_the_lidar_struck_and_nothing_else(network: OccupancyNet, inputs: Inputs) -> None:
    """A return ahead takes the colour of the pixels that show it: what is written there changes, elsewhere it does
    not."""
    assert inputs.lidar is not None and inputs.images is not None and network.camera is not None
    index, present = inputs.lifting, inputs.present
    assert index is not None and present is not None
    lidar = torch.zeros_like(inputs.lidar)
    lidar[0, FEATURES.index("hits"), 4, 140, 101] = 32  # x = 16 m, y = 0.6 m
    struck = returned(lidar, SMALL.lift_step)
    assert struck.lifted.sum() == 1 and struck.lifted.view(100, 100, 8)[70, 50, 2] == 1
    assert struck.voxels.sum() == 1 and struck.voxels[0, 4, 140, 101] == 1
    camera = network.camera
    painted, bare = camera(inputs.images, present, index, struck), camera(inputs.images, present, index)
    assert painted.fine is not None and bare.fine is None
    cells = (painted.cells - bare.cells)[0].flatten(1)
    elsewhere = cells[:, torch.arange(100 * 100) != 7050]
    torch.testing.assert_close(elsewhere, elsewhere[:, :1].expand_as(elsewhere), atol=1e-5, rtol=1e-4)
    assert (cells[:, 7050] - elsewhere[:, 0]).abs().max() > 1e-3
    columns = painted.fine[0].flatten(1)
    elsewhere = columns[:, torch.arange(200 * 200) != 140 * 200 + 101]
    torch.testing.assert_close(elsewhere, elsewhere[:, :1].expand_as(elsewhere), atol=1e-5, rtol=1e-4)
    assert (columns[:, 140 * 200 + 101] - elsewhere[:, 0]).abs().max() > 1e-3


@torch.no_grad()
def test_a_lost_camera_changes_what_it_saw_and_its_image_does_not_matter(network: OccupancyNet, inputs: Inputs) -> None:
    assert inputs.present is not None and inputs.images is not None
    present = inputs.present.clone()
    present[0, 0] = 0.0
    lost = network(inputs._replace(present=present, lidar=None)).logits
    images = inputs.images.clone()
    images[0, 0] = 5.0
    torch.testing.assert_close(network(inputs._replace(present=present, lidar=None, images=images)).logits, lost)
    change = (network(inputs._replace(lidar=None)).logits - lost).abs().mean((1, 2))[0]
    assert change[140:160, 95:105].mean() > 2 * change[40:60, 95:105].mean()  # ahead, more than behind


@pytest.mark.parametrize("sensor", ["lidar", "camera"])
def test_a_network_of_one_sensor_has_no_weights_for_the_other(sensor: str, inputs: Inputs) -> None:
    network = OccupancyNet(replace(SMALL, lidar=sensor == "lidar", camera=sensor == "camera")).eval()
    names = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert names == {sensor, "trunk", "head"}
    with torch.no_grad():
        assert torch.isfinite(network(inputs).logits).all()


class Exported(torch.nn.Module):
    """As an engine sees it: tensors in, classes out."""

    def __init__(self, network: OccupancyNet, index: LiftIndex) -> None:
        super().__init__()
        self.network, self.index = network, index

    def forward(self, lidar: torch.Tensor, images: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(Inputs(lidar, images, present, self.index)).logits
        return logits


@torch.no_grad()
def test_exports_to_opset_17_without_what_engines_refuse_and_says_the_same(
    network: OccupancyNet, inputs: Inputs
) -> None:
    assert inputs.lifting is not None and inputs.lidar is not None
    arguments = (inputs.lidar, inputs.images, inputs.present)
    file = io.BytesIO()
    names = ["lidar", "images", "present"]
    exported = Exported(network, inputs.lifting).eval()
    torch.onnx.export(exported, arguments, file, input_names=names, opset_version=17, dynamo=False)
    graph = onnx.load_from_string(file.getvalue())
    used = {node.op_type for node in graph.graph.node}
    refused = {"If", "Loop", "Scan", "NonZero", "ScatterElements", "ScatterND", "CumSum", "GridSample", "Einsum"}
    assert not used & refused, used & refused
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    given = {n: t.numpy() for n, t in zip(names, arguments, strict=True) if t is not None}
    out = session.run(None, given)[0]
    np.testing.assert_allclose(out, network(inputs).logits.numpy(), atol=2e-4)
