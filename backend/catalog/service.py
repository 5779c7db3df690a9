"""Which models there are, which are ready, and which one a task gets."""

from __future__ import annotations

from collections.abc import Sequence

from backend.problem import Problem
from backend.settings import Settings
from engine.catalog import Catalog, ModelSpec, load_catalog
from engine.weights import WeightsStore

PREFERRED = "spleeter:2stems"
EMBEDDED = "lite"

StemChoice = int | Sequence[str] | None
"""How many stems a song is taken apart into, or the names of those to keep; None: all that the model gives."""


class ModelUnknown(Problem):
    status = 422
    code = "unknown_model"
    advice = "GET /api/v1/models lists the models that this service has."
    field = "model"


class StemsUnknown(Problem):
    status = 422
    code = "stems_unknown"
    advice = "GET /api/v1/models lists the stems that each model gives."
    field = "stems"


class ModelShelf:
    """The catalogue and the weights that are here."""

    def __init__(self, settings: Settings) -> None:
        engine = settings.engine
        self.catalog: Catalog = load_catalog(settings.assets_dir / "models.toml")
        self.weights = WeightsStore(
            settings.data_dir / "models",
            mirror=engine.weights_mirror or None,
            local=engine.weights_local,
        )
        self._default = engine.default_model

    def ready(self, spec: ModelSpec) -> bool:
        """Whether a task could start with it now; never waits for a download."""
        return spec.embedded or self.weights.ready(spec)

    def choose(self, named: str | None, stems: StemChoice = None) -> ModelSpec:
        """The model that is frozen into a task: the one named, else the setting's choice.

        Where that one does not give the stems that are asked for, the first of the catalogue that does, one that
        is ready before others. Raises ModelUnknown, StemsUnknown. One that is named is used or the task fails:
        there is no silent replacement.
        """
        usual = self._choose(named)
        if named is not None or _gives(usual, stems):
            kept_stems(usual, stems)
            return usual
        others = [spec for spec in self.catalog.values() if _gives(spec, stems)]
        if not others:
            wanted = f"{stems} stems" if isinstance(stems, int) else ", ".join(stems or ())
            raise StemsUnknown(f"No model gives {wanted}.")
        return next((spec for spec in others if self.ready(spec)), others[0])

    def _choose(self, named: str | None) -> ModelSpec:
        if named is None and self._default == "auto":
            preferred = self.catalog[PREFERRED]
            return preferred if self.ready(preferred) else self.catalog[EMBEDDED]
        model_id = named or self._default
        if model_id not in self.catalog:
            known = ", ".join(self.catalog)
            raise ModelUnknown(f"There is no model {model_id!r}. Known models: {known}.")
        return self.catalog[model_id]


def kept_stems(spec: ModelSpec, stems: StemChoice) -> tuple[str, ...]:
    """Those stems of a model that are kept, in the model's order; raises StemsUnknown."""
    if _gives(spec, stems):
        return tuple(stem for stem in spec.stems if stems is None or isinstance(stems, int) or stem in stems)
    given = f"Model {spec.id!r} gives {', '.join(spec.stems)}"
    if isinstance(stems, int):
        raise StemsUnknown(f"{given}: {len(spec.stems)} stems, not {stems}.")
    raise StemsUnknown(f"{given}; not {', '.join(stem for stem in stems or () if stem not in spec.stems)}.")


def _gives(spec: ModelSpec, stems: StemChoice) -> bool:
    if stems is None or isinstance(stems, int):
        return stems is None or len(spec.stems) == stems
    return set(stems) <= set(spec.stems)
