"""Run an example without a key: a local provider stands in for OpenAI, Anthropic and Google.

python examples/run_offline.py openai_chat
python examples/run_offline.py --all
"""

import os
import runpy
import subprocess
import sys
import warnings
from pathlib import Path

from costguard.testing.loopback import LoopbackProvider

HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """Every example, by name."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != Path(__file__).stem)


def run(name: str) -> None:
    """Run one example against a provider of its own."""
    path = str(HERE / f"{name}.py")
    with LoopbackProvider(input_tokens="measured", output_tokens=100) as provider:
        os.environ.update(provider.env())
        if name == "google_generativeai_content":
            # The one SDK whose address cannot be set from outside.
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                import google.generativeai as genai
            genai.configure(transport="rest", client_options={"api_endpoint": provider.url})
        if name.startswith("test_"):
            # In a process of its own, for pytest has to load its plugins first.
            options = ("-q", "-p", "no:cacheprovider", "-c", os.devnull, f"--rootdir={HERE}")
            sys.exit(subprocess.run([sys.executable, "-m", "pytest", *options, path], check=False).returncode)
        runpy.run_path(path, run_name="__main__")


def main(arguments: list[str]) -> None:
    """Run the examples named, or all of them, each in a process of its own when there are several."""
    if arguments == ["--all"]:
        arguments = names()
    unknown = [name for name in arguments if name not in names()]
    if unknown or not arguments:
        sys.exit(f"{__doc__}\nThe examples are {', '.join(names())}.")
    if len(arguments) == 1:
        run(arguments[0])
        return
    for name in arguments:
        print(f"\n-- {name} --", flush=True)
        subprocess.run([sys.executable, __file__, name], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
