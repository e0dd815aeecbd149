"""Mutations of the corpus that follow the coverage of the parser: `make fuzz`, for as long as you like.

What it finds lies in var/fuzz as `crash-…` or `timeout-…`: mend the parser and add a file to the corpus.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["mailboxes", "email._parseaddr"]):
    from tests.parsing.limits import read

HERE = Path(__file__).parent
WHERE = HERE.parents[1] / "var" / "fuzz"
LIMITS = ["-max_len=8192", "-timeout=20", "-rss_limit_mb=1500", f"-artifact_prefix={WHERE}/"]


def main() -> None:
    """Start from the corpus and from what earlier runs found; further options are libFuzzer's."""
    WHERE.mkdir(parents=True, exist_ok=True)
    inputs = WHERE / "inputs"
    if not inputs.exists():
        shutil.copytree(HERE / "corpus", inputs)
    atheris.Setup([sys.argv[0], *LIMITS, *sys.argv[1:], str(inputs)], read_one)
    atheris.Fuzz()


def read_one(raw: bytes) -> None:
    read(raw)


if __name__ == "__main__":
    main()
