"""What costguard takes from environment variables. `_config` reads them; this says what they mean."""

from __future__ import annotations

import os.path
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ._budget import Budget, budget, clean_tags
from ._settings import MODES, UNKNOWN_PRICE
from .errors import ConfigError

_TRUE: Final = ("1", "true", "yes", "on")
_PATIENCE: Final = 30.0
_FALSE: Final = ("", "0", "false", "no", "off")


VARIABLES: Final = (
    "COSTGUARD_BUDGET",
    "COSTGUARD_CONFIG",
    "COSTGUARD_DISABLED",
    "COSTGUARD_ENVIRONMENT",
    "COSTGUARD_EXECUTORS",
    "COSTGUARD_EXPORTERS",
    "COSTGUARD_HOME",
    "COSTGUARD_HTTP_TOKEN",
    "COSTGUARD_JOURNAL",
    "COSTGUARD_LEDGER",
    "COSTGUARD_MODE",
    "COSTGUARD_ON_UNKNOWN_PRICE",
    "COSTGUARD_RUN",
    "COSTGUARD_RUN_BUDGET",
    "COSTGUARD_TAGS",
    "COSTGUARD_TOKENIZER",
)
"""Every variable that is read, so that the others which look like one of ours can be told."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The variables, None and empty where they are not set. A configuration file is weaker, an argument is stronger.

    Attributes:
        disabled: ``COSTGUARD_DISABLED``: `instrument` leaves the SDKs untouched.
        config: ``COSTGUARD_CONFIG``: the configuration file; set and empty, none is looked for.
        mode: ``COSTGUARD_MODE``: ``enforce`` or ``observe``.
        ledger: ``COSTGUARD_LEDGER``: a ledger's URL.
        journal: ``COSTGUARD_JOURNAL``: a journal's URL.
        exporters: ``COSTGUARD_EXPORTERS``: names, separated by commas.
        http_token: ``COSTGUARD_HTTP_TOKEN``: what the exporter ``http`` shows its receiver.
        tags: ``COSTGUARD_TAGS``: ``team=web,tenant=acme``; ``COSTGUARD_ENVIRONMENT``: the ``environment`` tag.
        on_unknown_price: ``COSTGUARD_ON_UNKNOWN_PRICE``: ``estimate`` or ``raise``.
        executors: ``COSTGUARD_EXECUTORS``: as `instrument` takes it.
        tokenizer: ``COSTGUARD_TOKENIZER``: whether inputs are counted exactly where that can be done.
        budget: ``COSTGUARD_BUDGET``: a limit on all calls, such as ``$5/day``, beside every other budget.
        home: ``COSTGUARD_HOME``: where costguard keeps what belongs to this machine, such as the key of fingerprints
            and updated prices.
        run: ``COSTGUARD_RUN``, set by ``costguard run``: the folder of the run that this process is part of.
        cap: ``COSTGUARD_RUN_BUDGET``, set by it too: what all processes of the run may cost together.
    """

    disabled: bool
    config: str | None
    mode: str | None
    ledger: str | None
    journal: str | None
    exporters: tuple[str, ...] | None
    http_token: str | None
    tags: Mapping[str, str]
    on_unknown_price: str | None
    executors: bool | None
    tokenizer: bool | None
    budget: Budget | None
    home: Path
    run: Path | None
    cap: Budget | None

    @classmethod
    def read(cls, env: Mapping[str, str]) -> Environment:
        """Read the variables named above.

        Raises:
            ConfigError: one of them is malformed; the message names it.
        """
        run = env.get("COSTGUARD_RUN")
        exporters = env.get("COSTGUARD_EXPORTERS")
        return cls(
            disabled=env.get("COSTGUARD_DISABLED", "").strip().lower() in _TRUE,
            config=env.get("COSTGUARD_CONFIG"),
            mode=_choice(env, "COSTGUARD_MODE", MODES),
            ledger=env.get("COSTGUARD_LEDGER") or None,
            journal=env.get("COSTGUARD_JOURNAL") or None,
            exporters=None
            if exporters is None
            else tuple(name.strip() for name in exporters.split(",") if name.strip()),
            http_token=env.get("COSTGUARD_HTTP_TOKEN") or None,
            tags=_tags(env),
            on_unknown_price=_choice(env, "COSTGUARD_ON_UNKNOWN_PRICE", UNKNOWN_PRICE),
            executors=_flag(env, "COSTGUARD_EXECUTORS"),
            tokenizer=_flag(env, "COSTGUARD_TOKENIZER"),
            budget=_budget(env, "COSTGUARD_BUDGET"),
            home=home(env),
            run=Path(run) if run else None,
            # All processes of the run share its books, and no other run does. They wait for each other's holds.
            cap=_budget(env, "COSTGUARD_RUN_BUDGET", name=Path(run).name, wait=_PATIENCE) if run else None,
        )


def _choice(env: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str | None:
    value = env.get(name) or None
    if value is not None and value not in allowed:
        raise ConfigError(f"{name}={value!r}: allowed are {' and '.join(map(repr, allowed))}")
    return value


def _flag(env: Mapping[str, str], name: str) -> bool | None:
    value = env.get(name)
    if value is None:
        return None
    if value.strip().lower() not in (*_TRUE, *_FALSE):
        raise ConfigError(f"{name}={value!r}: allowed are '1' and '0'")
    return value.strip().lower() in _TRUE


def home(env: Mapping[str, str]) -> Path:
    """Where costguard keeps what belongs to this machine."""
    if named := env.get("COSTGUARD_HOME"):
        return Path(named)
    # Unlike `Path.expanduser`, this does not fail for a user without a home.
    return Path(env.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")) / "costguard"


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _tags(env: Mapping[str, str]) -> dict[str, str]:
    pairs = [part for part in env.get("COSTGUARD_TAGS", "").split(",") if part.strip()]
    if any("=" not in pair for pair in pairs):
        raise ConfigError(f"COSTGUARD_TAGS={env['COSTGUARD_TAGS']!r}: write tags like 'team=web,tenant=acme'")
    said = {name.strip(): value.strip() for name, _, value in (pair.partition("=") for pair in pairs)}
    if env.get("COSTGUARD_ENVIRONMENT"):
        said["environment"] = env["COSTGUARD_ENVIRONMENT"]
    try:
        return clean_tags(said)
    except ConfigError as error:
        raise ConfigError(f"COSTGUARD_TAGS: {error}") from None


def _budget(env: Mapping[str, str], variable: str, **knobs: Any) -> Budget | None:
    limit = env.get(variable)
    if not limit:
        return None
    try:
        return budget(limit, **knobs)
    except ConfigError as error:
        raise ConfigError(f"{variable}: {error}") from None
