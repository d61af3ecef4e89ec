"""Where each object and the ego will be: measured motion in, learned correction out.

Shapes: B batch, K objects, H horizons, d channels. SI units, in the ego frame at the stamp.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genie.columns import Window, column_of, in_window, take_rows
from genie.command import Command
from genie.observation import AXIS, CENTER, FAST, HEADING, KIND, MEASURED, PAST, PAST_S, SCALARS, SLOW
from perception.types import HORIZONS_S, MOVABLE

RESIDUAL_M = 4.0  # scale of a unit output: metres, and
RESIDUAL_RAD = 0.5  # radians
_EGO_SCALE = 0.1


class ObjectMotion(NamedTuple):
    """Rigid motion of each object until each horizon: [B, H, K, 3] displacement x, y (m) and turn (rad)."""

    displacement: Float[Tensor, "B H K 3"]


def measured_displacement(objects: Float[Tensor, "B K F"]) -> Float[Tensor, "B H K 3"]:
    """Constant measured velocity, no turn: what a tracker without learning says."""
    seconds = torch.tensor(HORIZONS_S, device=objects.device)[None, :, None, None]
    moved = objects[:, None, :, MEASURED] * seconds
    return torch.cat([moved, torch.zeros_like(moved[..., :1])], dim=-1)


class MotionHead(nn.Module):
    """A residual on the measured motion, in the frame of each object's heading."""

    measured_scale: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        inputs = 2 * (3 + len(PAST_S)) + 2 + (SCALARS.stop - SCALARS.start) + len(MOVABLE) + 2
        from_token = nn.Linear(width, 128)
        self.token = nn.Sequential(nn.LayerNorm(width), from_token)
        self.features = nn.Linear(inputs, 128)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(128, 128), nn.GELU())
        nn.init.zeros_(from_token.weight)  # the objects' own past is learned first
        nn.init.zeros_(from_token.bias)
        self.residual = nn.Linear(128, 3 * len(HORIZONS_S))
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)
        # 1; an ablation sets it to 0 to see what the forecast is worth without any motion.
        self.register_buffer("measured_scale", torch.ones(()))

    def forward(
        self,
        objects: Float[Tensor, "B K F"],
        ego_velocity: Float[Tensor, "B 3"],
        tokens: Float[Tensor, "B N d"] | None = None,
        window: Window | None = None,
    ) -> ObjectMotion:
        """Motion of every object. Without tokens, or outside their window, from the object's own past alone."""
        along = objects[..., HEADING]
        hidden = self.features(self._in_heading_frame(objects, along, ego_velocity))
        if tokens is not None and window is not None:
            inside = in_window(objects[..., CENTER], window).unsqueeze(-1)
            own = take_rows(tokens, column_of(objects[..., CENTER], window))
            hidden = hidden + torch.where(inside, self.token(own), 0.0)
        residual = self.residual(self.mlp(hidden)).unflatten(-1, (len(HORIZONS_S), 3)).transpose(1, 2)  # (B, H, K, 3)
        cos, sin = along[:, None, :, 0], along[:, None, :, 1]
        scaled_x, scaled_y = residual[..., 0] * RESIDUAL_M, residual[..., 1] * RESIDUAL_M
        correction = torch.stack(
            [cos * scaled_x - sin * scaled_y, sin * scaled_x + cos * scaled_y, residual[..., 2] * RESIDUAL_RAD], dim=-1
        )
        exists = (objects[..., KIND].sum(-1) > 0)[:, None, :, None]
        measured = measured_displacement(objects) * self.measured_scale
        return ObjectMotion(torch.where(exists, measured + correction, 0.0))

    def _in_heading_frame(self, objects: Tensor, along: Tensor, ego_velocity: Tensor) -> Tensor:
        """Inputs that do not change with the view: turned into the heading, positions as deviations from a straight
        line, so that what is learned at one speed holds at another."""
        slow = objects[..., SLOW]
        vectors = [objects[..., MEASURED] - slow, objects[..., FAST] - slow, slow / (1.0 + 0.1 * slow.abs())]
        for index, seconds in enumerate(PAST_S):
            past = objects[..., PAST.start + 2 * index : PAST.start + 2 * index + 2]
            seen = objects[..., SCALARS.start + index].unsqueeze(-1)
            vectors.append((past + slow * seconds) * seen)
        cos, sin = along[..., 0], along[..., 1]
        turned = []
        for vector in vectors:
            x, y = vector.unbind(-1)
            turned += [cos * x + sin * y, cos * y - sin * x]
        axis_x, axis_y = objects[..., AXIS].unbind(-1)
        twice_cos, twice_sin = cos * cos - sin * sin, 2 * cos * sin
        turned += [twice_cos * axis_x + twice_sin * axis_y, twice_cos * axis_y - twice_sin * axis_x]
        turned += [cos * ego_velocity[:, None, 0] * 0.1, -sin * ego_velocity[:, None, 0] * 0.1]
        return torch.cat([torch.stack(turned, dim=-1), objects[..., SCALARS], objects[..., KIND]], dim=-1)


class TrajectoryHead(nn.Module):
    """The ego's own future where no plan is given: constant speed and yaw rate, and a learned residual."""

    EGO = 3 + 2 + len(Command)  # velocity, acceleration, command

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Linear(width, 64)
        self.features = nn.Linear(self.EGO, 64)
        self.mlp = nn.Sequential(nn.GELU(), nn.Linear(64, 64), nn.GELU())
        self.residual = nn.Linear(64, 3 * len(HORIZONS_S))
        nn.init.zeros_(self.token.weight)  # what the ego does is learned first
        nn.init.zeros_(self.token.bias)
        nn.init.zeros_(self.residual.weight)
        nn.init.zeros_(self.residual.bias)

    def forward(
        self,
        ego_velocity: Float[Tensor, "B 3"],
        ego_acceleration: Float[Tensor, "B 2"],
        command: Float[Tensor, "B 3"],
        tokens: Float[Tensor, "B N d"] | None = None,
    ) -> Float[Tensor, "B H 3"]:
        """Future poses. command: one-hot of genie.command.Command, zeros where none is given."""
        seconds = torch.tensor(HORIZONS_S, device=ego_velocity.device)
        speed, slip, rate = (ego_velocity[:, i, None] for i in range(3))
        turn = rate * seconds
        # An arc; sin(turn / 2) / (turn / 2) is flat near zero, so a floor on the angle is exact enough.
        half = torch.where(turn.abs() < 1e-3, torch.full_like(turn, 1e-3), turn) / 2
        chord = seconds * half.sin() / half
        arc = torch.stack(
            [
                chord * (speed * (turn / 2).cos() - slip * (turn / 2).sin()),
                chord * (speed * (turn / 2).sin() + slip * (turn / 2).cos()),
                turn,
            ],
            dim=-1,
        )
        hidden = self.features(torch.cat([ego_velocity * _EGO_SCALE, ego_acceleration, command], dim=-1))
        if tokens is not None:
            count, wide = tokens.shape[1], tokens.to(ego_velocity.dtype)  # a sum over all tokens: not in FP16
            mean = (wide.new_full((1, count), 1.0 / count) @ wide)[:, 0]  # a product: runtimes reduce slowly
            hidden = hidden + self.token(mean)
        residual = self.residual(self.mlp(hidden))
        scale = torch.tensor([RESIDUAL_M, RESIDUAL_M, RESIDUAL_RAD], device=ego_velocity.device)
        return arc + residual.unflatten(-1, (len(HORIZONS_S), 3)) * scale
