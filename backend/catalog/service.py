"""Which models there are, which are ready, and which one a task gets."""

from __future__ import annotations

from backend.problem import Problem
from backend.settings import Settings
from engine.catalog import Catalog, ModelSpec, load_catalog
from engine.weights import WeightsStore

PREFERRED = "spleeter:2stems"
EMBEDDED = "lite"


class ModelUnknown(Problem):
    status = 422
    code = "unknown_model"
    advice = "GET /api/v1/models lists the models that this service has."


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

    def choose(self, named: str | None) -> ModelSpec:
        """The model that is frozen into a task: the one named, else the setting's choice.

        Raises ModelUnknown. One that is named is used or the task fails: there is no silent replacement.
        """
        if named is None and self._default == "auto":
            preferred = self.catalog[PREFERRED]
            return preferred if self.ready(preferred) else self.catalog[EMBEDDED]
        model_id = named or self._default
        if model_id not in self.catalog:
            known = ", ".join(self.catalog)
            raise ModelUnknown(f"There is no model {model_id!r}. Known models: {known}.")
        return self.catalog[model_id]
