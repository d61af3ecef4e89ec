"""What each technique gives and each part is worth: one set of weights in every form, and with every part broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from calib.errors import InputError
from genie.checkpoint_forecaster import zero_parts
from genie.data.scenes import Scene
from genie.evaluation.rollout import Ego, Evaluation, evaluate
from genie.evaluation.sabotage import SABOTAGES
from genie.forecaster import Forecaster
from genie.gated_forecaster import GatedForecaster
from genie.model import GenieDrive
from genie.model_forecaster import ModelForecaster
from genie.variants import DENSE, GATED, VARIANT_OF, VARIANTS, as_variant

TECHNIQUES, SABOTAGED, LEARNED = "techniques", "sabotage", "learned parts"


@dataclass(frozen=True)
class Ablation:
    """A row. variant: the form it runs in (genie.variants). sabotage: of SABOTAGES. parts: zeroed
    (genie.checkpoint_forecaster.ABLATIONS)."""

    name: str
    title: str
    group: str
    variant: str = GATED
    sabotage: str | None = None
    parts: tuple[str, ...] = ()


ABLATIONS = (
    *(Ablation(v.name, v.title, TECHNIQUES, v.name) for v in VARIANTS),
    Ablation("no-history", "dense twin, no history", TECHNIQUES, DENSE, "no-history"),
    Ablation("random-columns", "columns chosen at random", SABOTAGED, sabotage="random-columns"),
    Ablation("least-surprising", "the least surprising columns first", SABOTAGED, sabotage="least-surprising"),
    Ablation("zeroed-memory", "memory zeroed", SABOTAGED, sabotage="zeroed-memory"),
    Ablation("shuffled-memory", "memory shuffled", SABOTAGED, sabotage="shuffled-memory"),
    Ablation("zeroed-cache", "kept tokens, keys and values zeroed", SABOTAGED, sabotage="zeroed-cache"),
    Ablation("shuffled-cache", "kept tokens, keys and values shuffled", SABOTAGED, sabotage="shuffled-cache"),
    Ablation("ego-stands", "ego said to stand", SABOTAGED, sabotage="ego-stands"),
    Ablation("no-correction", "learned motion off", LEARNED, parts=("correction",)),
    Ablation("no-motion", "all motion off", LEARNED, parts=("motion",)),
    Ablation("no-invention", "learned fill off", LEARNED, parts=("invention",)),
    Ablation("nothing-learned", "learned motion and fill off", LEARNED, parts=("correction", "invention")),
)


def ablations_named(names: Sequence[str]) -> list[Ablation]:
    """In the order of ABLATIONS, all where none is named; the dense twin and the default are always among them.

    Raises:
        InputError: no such row.
    """
    known = [a.name for a in ABLATIONS]
    for name in names:
        if name not in known:
            raise InputError(f"no row {name!r}", expected=f"one of {', '.join(known)}", fix="name one of these")
    return [a for a in ABLATIONS if not names or a.name in (*names, DENSE, GATED)]


def forecaster_of(ablation: Ablation, model: GenieDrive) -> Forecaster:
    """model: is not changed."""
    damaged = zero_parts(as_variant(model, VARIANT_OF[ablation.variant]), ablation.parts)
    if ablation.sabotage is not None:
        return SABOTAGES[ablation.sabotage](damaged, ablation.name)
    make = ModelForecaster if VARIANT_OF[ablation.variant].form == "dense" else GatedForecaster
    return make(damaged, ablation.name)


def ablate(
    model: GenieDrive,
    scenes: Callable[[], Iterable[Scene]],
    protocol: str,
    ablations: Sequence[Ablation] = ABLATIONS,
    on_row: Callable[[str, Evaluation], None] = lambda *_: None,
    ego: Ego = "given",
) -> dict[str, Evaluation]:
    """By name, in order. scenes: read anew for each row. on_row: called with each and its name. ego: of evaluate."""
    results = {}
    for ablation in ablations:
        results[ablation.name] = evaluate(forecaster_of(ablation, model), scenes(), protocol, ego=ego)
        on_row(ablation.name, results[ablation.name])
    return results
