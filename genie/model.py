"""GenieDrive: one tick of the world model, dense form.

    tokens   = encode the observed columns
    tokens   = attend to each other and to the ego-warped history
    motion   = measured velocity of each object, corrected by what the tokens know
    ego      = the given plan, or the trajectory that the model expects
    invented = columns that the future will show and nobody has seen, decoded once
    forecast = one gather per horizon

Shapes: B = 1 on the car; N = 2500 columns of 4x4x16 voxels, d channels; K = 128 objects; H = 6 horizons of 0.5 s;
P past frames; R invented columns. SI units; planar poses are x (m), y (m), yaw (rad).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from genie.attention import KeysValues, Layer, Places, places
from genie.columns import Window, compose, invert, local_positions, take_rows, warp_columns, whole_grid
from genie.config import ModelConfig
from genie.decoder import EXTENDED, PAD, Invented, Invention, choose_columns
from genie.forecast import KeptColumns, Moved, SeenRows, move
from genie.gate import ChangeGate
from genie.grid import CELLS, COLUMNS, HEIGHT
from genie.motion import MotionHead, TrajectoryHead
from genie.observation import CENTER
from genie.packing import unpack
from genie.rows import WORDS
from genie.state import StreamState
from genie.tokenizer import ColumnTokenizer
from perception.types import GRID, HORIZONS_S


class TrackedOccupancy(NamedTuple):
    """One observation and the objects in it: see genie.inputs.model_inputs."""

    rows: Int[Tensor, "X Y 4"]
    raised: Int[Tensor, "X Y 4"]
    lowered: Int[Tensor, "X Y 4"]
    object_id: Int[Tensor, "X Y"]
    object_cells: Int[Tensor, " C"]
    small: Int[Tensor, "X Y"]
    bare: Int[Tensor, "C 4"]
    movers: Int[Tensor, "C 4"]
    border_standing: Int[Tensor, "G 16 4"]
    border_ground: Int[Tensor, "G 16 4"]
    objects: Float[Tensor, "K F"]
    evidence_block: Int[Tensor, "S S"]
    evidence_row: Int[Tensor, " W"]
    evidence: Int[Tensor, "M 4"]
    fine_from_ego: Float[Tensor, 3]


class EgoMotion(NamedTuple):
    """now_from_previous [3]; velocity [3] forward, left (m/s), yaw rate (rad/s); acceleration [2] forward (m/s2), of
    the yaw rate (rad/s2); continues [1], 0 at a start; dt [1], seconds since the previous frame."""

    now_from_previous: Float[Tensor, 3]
    velocity: Float[Tensor, 3]
    acceleration: Float[Tensor, 2]
    continues: Float[Tensor, 1]
    dt: Float[Tensor, 1]


class Plan(NamedTuple):
    """trajectory [H, 3], future ego poses in the present ego frame; given [1], 0 lets the model expect its own, after
    the command [3] (genie.command.one_hot)."""

    trajectory: Float[Tensor, "H 3"]
    given: Float[Tensor, 1]
    command: Float[Tensor, 3]


class Forecast(NamedTuple):
    """What one tick says of the next three seconds.

    rows:         int32 [H, 200, 200, 4], packed voxels (genie/rows.py) in the future ego frames.
    trajectory:   [H, 3], future ego poses. displacement: [H, K, 3] of the objects.
    confidence:   [H, 50, 50], probability that a voxel forecast as occupied in that column is right.
    origin:       int32 [H, 200, 200], where each cell came from (genie.forecast: OBSERVED, MOVED, INVENTED).
    """

    rows: Int[Tensor, "H X Y 4"]
    trajectory: Float[Tensor, "H 3"]
    displacement: Float[Tensor, "H K 3"]
    confidence: Float[Tensor, "H 50 50"]
    origin: Int[Tensor, "H X Y"]


# The table of confidence: the ego's way is expected or given; it stands, moves; horizon; observed, moved, invented.
CONFIDENCE_SHAPE = (2, 2, len(HORIZONS_S), 3)


class GenieDrive(nn.Module):
    """The dense twin: every column is encoded and attends to everything, every tick."""

    confidence_of_origin: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tokenizer = ColumnTokenizer(config.width, config.class_channels)
        self.layers = nn.ModuleList(Layer(config.width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.motion = MotionHead(config.width)
        self.trajectory = TrajectoryHead(config.width)
        self.invention = Invention(config.width, config.decoder_width)
        self.gate = ChangeGate(config.gate)  # of the gated tick (genie/gated.py), which has these same weights
        # Measured on held-out scenes at the end of training (genie/training/confidence.py).
        self.register_buffer("confidence_of_origin", torch.zeros(CONFIDENCE_SHAPE))

    def step(
        self, occupancy: TrackedOccupancy, ego_motion: EgoMotion, state: StreamState, plan: Plan
    ) -> tuple[Forecast, StreamState]:
        """One tick: the newest observation in, the next three seconds out."""
        encoded = self._encode(occupancy)
        now_from_past = compose(ego_motion.now_from_previous.unsqueeze(0), state.now_from_past)
        filled = state.filled * ego_motion.continues
        window = whole_grid(device=encoded.device)
        tokens = self.attend(encoded, *self._warp_history(state, now_from_past, filled, window))
        forecast = self.tell(occupancy, ego_motion, tokens, plan)
        return forecast, self._advance(state, encoded, now_from_past, filled)

    def tell(
        self, occupancy: TrackedOccupancy, ego_motion: EgoMotion, tokens: Float[Tensor, "1 N d"], plan: Plan
    ) -> Forecast:
        """The next three seconds, from the present observation and what the tokens know."""
        velocity = ego_motion.velocity.unsqueeze(0)
        motion = self.motion(occupancy.objects.unsqueeze(0), velocity, tokens, whole_grid(device=tokens.device))
        ego = (velocity, ego_motion.acceleration.unsqueeze(0), plan.command.unsqueeze(0))
        expected = self.trajectory(*ego, tokens)[0]
        trajectory = plan.given * plan.trajectory + (1.0 - plan.given) * expected
        seen = SeenRows(
            occupancy.rows.reshape(-1, WORDS),
            occupancy.object_id.reshape(-1),
            occupancy.object_cells,
            occupancy.bare,
            occupancy.movers,
            occupancy.border_ground,
        )
        invented = self._invent(unpack(occupancy.border_standing), unpack(occupancy.border_ground), tokens, trajectory)
        kept = KeptColumns(
            occupancy.evidence_block, occupancy.evidence_row, occupancy.evidence, occupancy.fine_from_ego
        )
        center = occupancy.objects[:, CENTER]
        moved = move(seen, center, motion.displacement[0], trajectory, invented, kept)
        confidence = self._confidence(moved, trajectory, plan.given)
        return Forecast(moved.rows, trajectory, motion.displacement[0], confidence, moved.origin())

    def remember(self, occupancy: TrackedOccupancy, ego_motion: EgoMotion, state: StreamState) -> StreamState:
        """The state after a tick, without its forecast: enough to enter a stream anywhere."""
        encoded = self._encode(occupancy)
        now_from_past = compose(ego_motion.now_from_previous.unsqueeze(0), state.now_from_past)
        return self._advance(state, encoded, now_from_past, state.filled * ego_motion.continues)

    def _encode(self, occupancy: TrackedOccupancy) -> Float[Tensor, "1 N d"]:
        seen = (unpack(occupancy.rows), occupancy.object_id, occupancy.objects)
        tokens: Tensor = self.tokenizer(*(x.unsqueeze(0) for x in seen))
        return tokens

    def attend(
        self,
        tokens: Float[Tensor, "B N d"],
        past: list[KeysValues],
        past_readable: Tensor,
    ) -> Float[Tensor, "B N d"]:
        """All layers: present tokens read each other and the warped history ([B, P * N, d] a layer)."""
        side = int(tokens.shape[1] ** 0.5)
        place = self.places(side, tokens)
        past_place = Places(*(torch.cat([x] * self.config.history, dim=1) for x in place))
        for layer, read in zip(self.stack, past, strict=True):
            tokens = layer(tokens, place, read, past_place, past_readable)
        out: Tensor = self.norm(tokens)
        return out

    @property
    def stack(self) -> list[Layer]:
        return [layer for layer in self.layers if isinstance(layer, Layer)]

    def places(self, side: int, tokens: Tensor) -> Places:
        """Of a window's columns."""
        position = local_positions(side, tokens.device).unsqueeze(0)
        return places(position, self.config.heads, self.config.width // self.config.heads)

    def _warp_history(
        self, state: StreamState, now_from_past: Tensor, filled: Tensor, window: Window
    ) -> tuple[list[KeysValues], Tensor]:
        """Keys and values where their columns are now: a nearest-cell gather, never an interpolation."""
        frames = self.config.history
        windows = Window(window.first.expand(frames, 2), window.side)
        warped = warp_columns(invert(now_from_past), windows, windows)
        readable = warped.inside & (filled > 0).unsqueeze(1)
        past = [
            KeysValues(
                take_rows(keys, warped.rows).reshape(1, -1, keys.shape[-1]),
                take_rows(values, warped.rows).reshape(1, -1, values.shape[-1]),
            )
            for keys, values in zip(state.keys, state.values, strict=True)
        ]
        return past, readable.reshape(1, -1)

    def _invent(self, standing: Tensor, ground: Tensor, tokens: Tensor, trajectory: Tensor) -> Invented:
        chosen = choose_columns(trajectory, self.config.invented)
        column = torch.stack([torch.div(chosen, EXTENDED, rounding_mode="trunc"), chosen % EXTENDED], dim=-1) - PAD
        position = column.unsqueeze(0)
        logits = self.invention(tokens, COLUMNS, position, margin=self.config.margin)
        ring, stays = (standing.unsqueeze(0), ground.unsqueeze(0)), self.config.ground_stays
        classes = self.invention.classes(logits, COLUMNS, position, *ring, ground_stays=stays)
        return Invented(chosen, classes.reshape(-1, HEIGHT))

    def _confidence(
        self, moved: Moved, trajectory: Float[Tensor, "H 3"], given: Float[Tensor, 1]
    ) -> Float[Tensor, "H 50 50"]:
        """Of each column, the mean over its cells."""
        expected, as_given = self.confidence_of_origin.unbind(0)
        stands, moves = (expected + given * (as_given - expected)).unbind(0)
        far = trajectory[:, :2].square().sum(-1, keepdim=True) > GRID.voxel_size**2
        of_origin = stands + far.to(stands.dtype) * (moves - stands)
        observed, when_moved, when_invented = of_origin.reshape(-1, 3, 1, 1).unbind(1)
        shares = torch.stack([moved.moved, moved.invented]).to(observed.dtype)
        share_moved, share_invented = nn.functional.avg_pool2d(shares, CELLS)
        gained: Tensor = (when_moved - observed) * share_moved + (when_invented - observed) * share_invented
        return observed + gained

    def _advance(self, state: StreamState, encoded: Tensor, now_from_past: Tensor, filled: Tensor) -> StreamState:
        """The present frame becomes the newest past frame; the oldest is dropped."""
        present = [layer.remember(encoded) for layer in self.stack]
        here = torch.zeros_like(now_from_past[:1])
        return StreamState(
            tuple(torch.cat([now.keys, old[:-1]]) for now, old in zip(present, state.keys, strict=True)),
            tuple(torch.cat([now.values, old[:-1]]) for now, old in zip(present, state.values, strict=True)),
            torch.cat([here, now_from_past[:-1]]),
            torch.cat([torch.ones_like(filled[:1]), filled[:-1]]),
        )
