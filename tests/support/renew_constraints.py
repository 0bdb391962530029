"""Write constraints.txt from what pyproject.toml's bounds give today (`make constraints`).

Uses a fresh environment, so that nothing old holds a version back.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = """\
# Exact versions that the project is tested with; pyproject.toml has the bounds.
# Renew: make constraints
"""


def main() -> int:
    """Resolve, write, return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        subprocess.run([python, "-m", "pip", "install", "--quiet", "-e", f"{ROOT}[server,dev]"], check=True)
        frozen = subprocess.run(
            [python, "-m", "pip", "freeze", "--exclude-editable"],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        ).stdout.splitlines()
    (ROOT / "constraints.txt").write_text(HEADER + "\n".join(frozen) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
