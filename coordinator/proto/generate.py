"""Generate Python code and descriptor sets from the .proto files: `python -m coordinator.proto.generate`.

With `--check` nothing is written and the exit code says whether what is there is up to date. Needs the
development tools `grpcio-tools` and `betterproto2_compiler`.
"""

import argparse
import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROTO_FOLDERS = (ROOT / "coordinator" / "proto", ROOT / "branches" / "proto")
WRITTEN_BY_HAND = (Path("__init__.py"), Path("py.typed"))


def main() -> int:
    """Generate, or compare with `--check`; return the exit code."""
    parser = argparse.ArgumentParser(description="Generate Python code from the .proto files.")
    parser.add_argument(
        "--check", action="store_true", help="write nothing, exit 1 when something is out of date"
    )
    only_check = parser.parse_args().check
    stale = [path for folder in PROTO_FOLDERS for path in _refresh(folder, write=not only_check)]
    for path in stale:
        sys.stdout.write(f"{'out of date' if only_check else 'written'}: {path.relative_to(ROOT)}\n")
    return 1 if only_check and stale else 0


def _refresh(folder: Path, *, write: bool) -> Iterator[Path]:
    """Yield every generated file below `folder` that differed from its .proto."""
    with tempfile.TemporaryDirectory() as temporary:
        fresh = Path(temporary)
        _compile(folder, fresh)
        for source in sorted(path for path in fresh.rglob("*") if path.is_file()):
            relative = source.relative_to(fresh)
            if relative in WRITTEN_BY_HAND:
                continue
            target = folder / relative
            if target.exists() and filecmp.cmp(source, target, shallow=False):
                continue
            if write:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            yield target


def _compile(folder: Path, output: Path) -> None:
    names = sorted(path.name for path in folder.glob("*.proto"))
    command = [
        *(sys.executable, "-m", "grpc_tools.protoc", f"-I{folder}"),
        f"--descriptor_set_out={output / 'descriptors.binpb'}",
        f"--python_betterproto2_out={output}",
        "--python_betterproto2_opt=server_generation=async",
        "--python_betterproto2_opt=client_generation=async",
        *names,
    ]
    # protoc looks for its plugin on PATH, and the environment this runs in need not be an activated one.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    done = subprocess.run(
        command, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        sys.exit(f"protoc failed for {folder}:\n{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
