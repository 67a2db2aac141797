"""Write the JSON schema of the configuration file, after a change of `costguard._settings`.

python tools/config_schema.py
"""

from __future__ import annotations

import json
from pathlib import Path

from costguard._settings import schema

TARGET = Path(__file__).resolve().parent.parent / "src" / "costguard" / "config.schema.json"

if __name__ == "__main__":
    TARGET.write_text(json.dumps(schema(), indent=1) + "\n", encoding="utf-8")
    print(f"wrote {TARGET}")
