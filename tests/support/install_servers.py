"""Get the programs that tests start, where they are missing: `python -m tests.support.install_servers`.

On Debian and Ubuntu by apt, as root or through sudo; what no package has is built by Go, once, into
`~/.cache/dtm-coordinator`; elsewhere a sentence says what to install. The exit code is 0 either way: the test
run itself names what could not run, and fails for it under CI.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from tests.support import programs

APT_OPTIONS = ("-q", "-y", "-o", "DPkg::Lock::Timeout=300")


def main() -> int:
    """Install what is missing, say what still is."""
    absent = [server for server in programs.ALL if programs.missing(server)]
    if not absent:
        return 0
    packages = [package for server in absent for package in server.apt_package.split()]
    if packages and shutil.which("apt-get") and (prefix := _privilege()) is not None:
        _say(f"installing {' and '.join(packages)} with apt (once on this machine) ...")
        _apt(prefix, packages)
    for server in absent:
        if server.go_module and (go := _go()):
            _build(go, server)
    for server in absent:
        try:
            programs.require(server)
        except programs.MissingProgram as error:
            _say(f"{error}. Tests that need it cannot run.")
    return 0


def _privilege() -> list[str] | None:
    """Return what makes a command run as root, or None when nothing does."""
    if os.geteuid() == 0:
        return []
    if shutil.which("sudo") is None:
        return None
    # A person may type a password; a CI run has nobody to do it.
    ask = ["sudo"] if sys.stdin.isatty() else ["sudo", "-n"]
    allowed = subprocess.run([*ask, "true"], stderr=subprocess.DEVNULL, check=False).returncode == 0
    return ask if allowed else None


def _apt(prefix: Sequence[str], packages: Sequence[str]) -> None:
    """Install; when the package lists are old or empty, renew them and try again. Output only on failure."""
    install = [
        *(*prefix, "env", "DEBIAN_FRONTEND=noninteractive"),
        *("apt-get", "install", *APT_OPTIONS, "--no-install-recommends", *packages),
    ]
    update = [*prefix, "apt-get", "update", *APT_OPTIONS]
    printed = ""
    for command in (install, update, install):
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if command is install and done.returncode == 0:
            return
        printed = done.stdout
    _say(f"{' '.join(install)} failed:\n{printed}")


def _go() -> str | None:
    """Go's command; its own installer puts it beside PATH."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _build(go: str, server: programs.Requirement) -> None:
    """Build a Go program into the cache. Not by `go install`, which refuses modules that replace others."""
    [program] = server.programs
    _say(f"building {program} with Go (once on this machine, about two minutes) ...")
    download = [go, "mod", "download", "-json", server.go_module]
    done = subprocess.run(download, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        source = json.loads(done.stdout)["Dir"]
        programs.BUILT.mkdir(parents=True, exist_ok=True)
        unfinished = programs.BUILT / f"{program}.{os.getpid()}"
        build = [go, "build", "-o", str(unfinished), server.go_package]
        done = subprocess.run(build, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            unfinished.replace(programs.BUILT / program)
            return
    _say(f"building {program} failed:\n{done.stdout}{done.stderr}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
