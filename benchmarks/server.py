"""What `costguard serve` answers in a second, beside an empty endpoint: `python benchmarks/server.py`.

The empty endpoint is a route of the same FastAPI on the same uvicorn that returns `{}`: what no route on that stack can
be faster than. wrk asks both in turns within one run, so that a busy machine slows both; medians over the rounds count.
The server is a real one, in a process of its own, with its ledger and its journal in SQLite files and a budget that
counts every call; every `track` and `settle` has an id of its own, and is answered once it is written. It takes about
a minute, and needs wrk (`apt-get install wrk`, `brew install wrk`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

_HEAD: Final = """
local count = 0
math.randomseed(os.time() * 1000 + {seed})
local name = string.format("%x-%x", math.random(2^30), math.random(2^30))
function fresh() count = count + 1 return name .. "-" .. count end
function event() return '{{"id":"' .. fresh() .. '","model":"gpt-4o","input_tokens":1000,"output_tokens":100,'
  .. '"metadata":{{"feature":"search","user":"u1"}}}}' end
function post(path, body) return wrk.format("POST", path, {{["content-type"] = "application/json"}}, body) end
function done(summary, latency)
  local wrong = summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout
  io.write(string.format('\\n{{"asked": %d, "took": %f, "p99": %f, "wrong": %d}}\\n', summary.requests,
    summary.duration / 1e6, latency:percentile(99) / 1000, wrong))
end
"""
_BATCH: Final = 100
_SCRIPTS: Final = {
    "empty endpoint": "",
    "track": 'function request() return post("/ai-spend/track", event()) end',
    f"track, {_BATCH} at once": f"""
function request()
  local events = {{}}
  for number = 1, {_BATCH} do events[number] = event() end
  return post("/ai-spend/track", '{{"events":[' .. table.concat(events, ",") .. "]}}")
end""".replace("{{", "{").replace("}}", "}"),
    "reserve and settle": """
local open = {}
function request()
  local ticket = table.remove(open)
  if ticket then
    return post("/ai-spend/settle", '{"reservation":"' .. ticket .. '","input_tokens":980,"output_tokens":90}')
  end
  return post("/ai-spend/reserve", '{"id":"' .. fresh() .. '","model":"gpt-4o","feature":"search",'
    .. '"input_tokens":1000,"max_output_tokens":100}')
end
function response(status, headers, body)
  local ticket = string.match(body, '"reservation":"([^"]+)"')
  if ticket then table.insert(open, ticket) end
end""",
    "budget": "",
}
_PATHS: Final = {"budget": "/ai-spend/budget?feature=search"}
_SHARE: Final = {"reserve and settle": 0.5}
"""A pair is two requests."""


class Round(NamedTuple):
    """What was measured of one workload."""

    rate: float
    p99: float


def floor() -> None:
    """Serve the empty endpoint, as `costguard serve` serves."""
    import uvicorn
    from fastapi import FastAPI
    from fastapi.responses import JSONResponse

    app = FastAPI(docs_url=None, redoc_url=None)

    @app.get("/")
    def empty() -> JSONResponse:
        return JSONResponse({})

    server = uvicorn.Server(
        uvicorn.Config(app, port=0, log_level="warning", access_log=False, server_header=False, lifespan="off")
    )
    sockets = [server.config.bind_socket()]
    sockets[0].listen()
    print(f"floor on http://127.0.0.1:{sockets[0].getsockname()[1]}", file=sys.stderr, flush=True)
    server.run(sockets=sockets)


@contextmanager
def running(*command: str) -> Iterator[str]:
    """The address that a program prints, for as long as it runs."""
    process = subprocess.Popen([sys.executable, *command], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        said = process.stderr.readline()
        if "http" not in said:
            sys.exit(f"{' '.join(command)}: {said}{process.stderr.read()}")
        yield said.strip().rpartition(" ")[2]
    finally:
        process.terminate()
        process.wait(30)


def asked(wrk: str, url: str, name: str, seconds: float, clients: int, seed: int) -> Round:
    """One round of a workload."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_HEAD.format(seed=seed) + _SCRIPTS[name])
        script.flush()
        done = subprocess.run(
            [
                wrk, "-t1", "--timeout", "60s", f"-c{clients}", f"-d{seconds:g}s", "-s", script.name,
                url + _PATHS.get(name, "/"),
            ],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if told["wrong"] or not told["asked"]:
        sys.exit(f"{name}: {told['wrong']} of {told['asked']} requests failed\n{done.stdout}")
    return Round(told["asked"] * _SHARE.get(name, 1) / told["took"], told["p99"])


def measured(wrk: str, rounds: int, seconds: float, clients: int) -> dict[str, list[Round]]:
    """Every workload, in turns."""
    found: dict[str, list[Round]] = {name: [] for name in _SCRIPTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        running(__file__, "--floor") as bare,
        running("-m", "costguard", "serve", "--home", folder, "--port", "0") as url,
    ):
        limit = json.dumps({"feature": "search", "monthly_limit": 9_000_000}).encode()
        ask = urllib.request.Request(f"{url}/ai-spend/budget", limit, {"content-type": "application/json"})
        urllib.request.urlopen(ask, timeout=60).close()
        for number in range(rounds):
            for name in _SCRIPTS:
                at = bare if name == "empty endpoint" else url
                found[name].append(asked(wrk, at, name, seconds, clients, number * 10 + len(name)))
    return found


def table(found: dict[str, list[Round]]) -> Sequence[str]:
    """The rows of a Markdown table."""
    bare = found["empty endpoint"]
    rows = ["| | a second | of the empty endpoint | p99, ms | calls a second |", "|---|---:|---:|---:|---:|"]
    for name, those in found.items():
        rate = statistics.median(one.rate for one in those)
        share = statistics.median(one.rate / floor.rate for one, floor in zip(those, bare, strict=True))
        p99 = statistics.median(one.p99 for one in those)
        calls = {"track": rate, "reserve and settle": rate}.get(name, rate * _BATCH if "at once" in name else 0)
        rows.append(f"| {name} | {rate:,.0f} | {share:.2g} | {p99:.0f} | {f'{calls:,.0f}' if calls else ''} |")
    return rows


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python benchmarks/server.py", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each workload in a round")
    parser.add_argument("--clients", type=int, default=16, help="connections at a time")
    parser.add_argument("--floor", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.floor:
        floor()
        return 0
    wrk = shutil.which("wrk")
    if wrk is None:
        print("wrk is not here: apt-get install wrk, or brew install wrk", file=sys.stderr)
        return 2
    found = measured(wrk, chosen.rounds, chosen.seconds, chosen.clients)
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores, {chosen.clients} clients\n")
    print("\n".join(table(found)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
