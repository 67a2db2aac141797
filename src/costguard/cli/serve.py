"""``costguard serve``: the ledger and the journal over HTTP."""

from __future__ import annotations

import argparse
import ipaddress
import secrets
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from .._config import environment, state
from ..errors import ConfigError, MissingExtraError

NEEDED: Final = ("fastapi", "uvicorn", "prometheus_client", "jinja2")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--host", default="127.0.0.1", help="where to listen; anything but loopback needs a token first"
    )
    parser.add_argument("--port", type=int, default=8787, help="where to listen (%(default)s); 0 for a free one")
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help="a name it is addressed by")
    parser.add_argument("--ledger", metavar="URL", help="where it counts, instead of a file of its own")
    parser.add_argument("--journal", metavar="URL", help="where it keeps calls, instead of a file of its own")
    parser.add_argument("--home", metavar="FOLDER", help="where it keeps its files, tokens and budgets")
    parser.add_argument("--config", metavar="FILE", help="the configuration file, with budgets and prices")


def run(options: argparse.Namespace) -> int:
    """Serve until it is told to stop."""
    if any(find_spec(name) is None for name in NEEDED):
        raise MissingExtraError("server")
    folder = home(options.home)
    folder.mkdir(parents=True, exist_ok=True)
    app: Any = import_module("costguard.server.app")
    tokens: Any = import_module("costguard.server._tokens")
    local = is_loopback(options.host)
    if not local and not tokens.Tokens(folder / "tokens.json"):
        raise ConfigError(
            f"--host {options.host} is open to others and there is no token yet: make one first with"
            " `costguard tokens create NAME --scope track`"
        )
    env = environment()
    state.configure(
        ledger=options.ledger or env.ledger or f"sqlite://{(folder / 'ledger.db').absolute()}",
        journal=options.journal or env.journal or f"sqlite://{(folder / 'calls.db').absolute()}",
        config=options.config,
    )
    hosts = [*app.LOCAL, *options.allow_host, *([] if local else [options.host])]
    once = None if local and not tokens.Tokens(folder / "tokens.json") else secrets.token_urlsafe(16)
    application = app.create_app(folder, hosts=hosts, closed=not local, once=once)
    watch: Any = import_module("costguard.server._watch")
    watch.watch()
    _serve(application, options.host, options.port, "" if once is None else f"?token={once}")
    return 0


def home(given: str | None) -> Path:
    """Where the server keeps its files."""
    return Path(given) if given else environment().home / "server"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _serve(application: Any, host: str, port: int, login: str) -> None:
    uvicorn: Any = import_module("uvicorn")
    wire: Any = import_module("costguard.server._wire")
    server = uvicorn.Server(
        uvicorn.Config(
            application, host=host, port=port, log_level="warning", access_log=False, server_header=False,
            limit_concurrency=500, timeout_keep_alive=30, lifespan="off", http=wire.protocol(),
        )
    )  # fmt: skip
    sockets = [server.config.bind_socket()]
    sockets[0].listen()  # so that nobody who reads the address below is turned away
    where = sockets[0].getsockname()
    print(f"costguard serves on http://{where[0]}:{where[1]}", file=sys.stderr, flush=True)
    good = " (good for one login)" if login else ""
    print(f"dashboard: http://{where[0]}:{where[1]}/dashboard{login}{good}", file=sys.stderr, flush=True)
    server.run(sockets=sockets)
