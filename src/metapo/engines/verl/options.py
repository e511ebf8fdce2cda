"""The block `metapo` of a verl config: where the run is kept, and what to do where there is no reward."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from metapo.errors import SettingsError
from metapo.rubric import Frozen, describe
from metapo.settings import Settings, TrainSettings
from metapo.store.postgres import PostgreSQL


class VerlOptions(Frozen):
    """`settings` is metapo's settings file, `store` the file or the PostgreSQL URL of the run. A file is an absolute
    path on the machine where training is started. Where `server` is the URL of a `metapo serve`, that keeps the run and
    has its settings; its token is read from the environment variable `token_env`.

    verl can leave no sample out. A rollout that could not be judged raises an error, so that its group counts as
    failed, or gets the number `neutral` as its reward. `slots` is how many criteria have a metric of their own.
    """

    settings: Path = Path()
    store: str = Field(default="", min_length=1)
    server: str | None = None
    token_env: str | None = None
    unscored: Literal["raise", "neutral"]
    neutral: float | None = Field(default=None, allow_inf_nan=False)
    slots: int = Field(default=12, ge=0, le=64)

    @model_validator(mode="before")
    @classmethod
    def _null_is_not_given(cls, block: Any) -> Any:
        return {k: v for k, v in block.items() if v is not None} if isinstance(block, dict) else block

    @model_validator(mode="after")
    def _one_keeps_the_run(self) -> Self:
        given = self.model_fields_set & {"settings", "store", "server", "token_env"}
        if given != {"settings", "store"} and (self.server is None or given - {"server", "token_env"}):
            raise ValueError(
                "give settings and store, or in their place server, with token_env where it wants a token; "
                f"got {', '.join(sorted(given)) or 'none of them'}"
            )
        return self

    @model_validator(mode="after")
    def _paths_hold_everywhere(self) -> Self:
        if self.server is None and not self.is_url and not Path(self.store).is_absolute():
            raise ValueError(
                f"store must be an absolute path or a database's URL; got {self.store!r}. Ray's processes have folders "
                "of their own."
            )
        return self

    @model_validator(mode="after")
    def _neutral_is_a_number(self) -> Self:
        if (self.unscored == "neutral") != (self.neutral is not None):
            raise ValueError(
                "unscored: neutral needs the number to give, such as neutral: 0.5; unscored: raise takes none; got "
                f"unscored: {self.unscored}, neutral: {self.neutral}"
            )
        return self

    @property
    def is_url(self) -> bool:
        return "://" in self.store

    @property
    def place(self) -> Path | str:
        """The store, as `Store` takes it."""
        return self.store if self.is_url else Path(self.store)

    @property
    def shown(self) -> str:
        """The store for messages, its password hidden. Raises StoreError where the URL can't be read."""
        return PostgreSQL(self.store).place if self.is_url else self.store

    @classmethod
    def of(cls, config: Any) -> Self:
        """What a verl config says under `metapo`. Raises SettingsError."""
        from omegaconf import OmegaConf
        from omegaconf.errors import OmegaConfBaseException

        try:
            given = config.get("metapo") or OmegaConf.create()
            block = OmegaConf.to_container(given, resolve=True, throw_on_missing=True)
            _check_reward(config)
            return cls.model_validate(block)
        except OmegaConfBaseException as e:
            raise SettingsError(f"the block 'metapo' of the verl config is not complete: {e}") from e
        except ValidationError as e:
            raise SettingsError(
                f"the block 'metapo' of the verl config is wrong in these fields:\n{describe(e)}\n"
                "Give them as +metapo.settings=... and so on, or over a preset as metapo.settings=..."
            ) from e

    def load_settings(self) -> Settings:
        """What the settings file says about scoring; what it says about training is verl's to say. Raises
        SettingsError."""
        return Settings.load(self.settings, ignore=TrainSettings.model_fields.keys() - Settings.model_fields.keys())


def _check_reward(config: Mapping[str, Any]) -> None:
    """verl goes past every reward manager where it has a reward model of its own."""
    if config["reward"]["reward_model"]["enable"]:
        raise SettingsError(
            "reward.reward_model.enable is on: verl would take that model's score and never ask metapo. Switch it off; "
            "the judge is named in metapo's settings."
        )
