"""Everything that the schema allows, and more, against a real server: ``python -m tests.server.fuzz --examples 500``.

schemathesis reads ``/openapi.json``, and makes requests that fit it and requests that do not. No answer may be a 5xx or
anything that the schema does not say, and no request without a good token may be answered.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import costguard
from costguard.server._tokens import Tokens

from .serving import serving

LEFT_OUT: Final = {
    # Which fields go together (input_tokens or text, limit or monthly_limit), what a reservation's text is, and which
    # names tags may have is more than a schema can say: such a request is answered with a 422 and words.
    "positive_data_acceptance",
}
NOT_KEPT: Final = ("--generation-database", "none")


def run(
    folder: Path, *, examples: int, tokens: bool, phases: str = "coverage,fuzzing", more: Sequence[str] = NOT_KEPT
) -> subprocess.CompletedProcess[str]:
    """Fuzz a fresh server in `folder`, with a token or on one that wants none."""
    costguard.configure(ledger=f"sqlite://{folder}/l.db", journal=f"sqlite://{folder}/c.db", exporters=[])
    held = ["--header", f"Authorization: Bearer {Tokens(folder / 'tokens.json').create('all', ['admin'])}"]
    if not tokens:
        (folder / "tokens.json").unlink()
    try:
        with serving(folder) as url:
            return subprocess.run(
                [
                    sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--no-color",
                    "--max-examples", str(examples), "--phases", phases, "--warnings", "off",
                    "--exclude-checks", ",".join(sorted(LEFT_OUT)),
                    *(held if tokens else ()), *more,
                ],
                capture_output=True, text=True, check=False, cwd=folder,
            )  # fmt: skip
    finally:
        costguard.configure(ledger="memory://", exporters=[])


def main() -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.server.fuzz", description=__doc__)
    parser.add_argument("--examples", type=int, default=500, help="requests of each route, with and without tokens")
    parser.add_argument("--seed", type=int, help="of what is asked")
    chosen = parser.parse_args()
    worst = 0
    for tokens in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            seed = [*NOT_KEPT, *([] if chosen.seed is None else ["--seed", str(chosen.seed)])]
            done = run(Path(folder), examples=chosen.examples, tokens=tokens, more=seed)
        print(f"-- {'with a token' if tokens else 'on an open server'}\n{done.stdout}{done.stderr}", flush=True)
        worst = max(worst, done.returncode)
    return worst


if __name__ == "__main__":
    sys.exit(main())
