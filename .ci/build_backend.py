"""setuptools, after a look whether the compiler and the libraries are there.

Without it pip would end after a minute with the output of a compiler, often that of pyfuse3.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks that need nothing

WITHOUT_FUSE = "TIERFS_BUILD_WITHOUT_FUSE"
"""Set where the wheel is made for other machines, on which pyfuse3 will be installed."""


def missing() -> dict[str, str]:
    """What is not there, and the Debian package that has it."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = {}
    compiler = os.environ.get("CC", "cc").split()[0]
    if shutil.which(compiler) is None and shutil.which("gcc") is None:
        found["a C compiler"] = "gcc libc6-dev"
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        found["Python.h"] = f"{version}-dev"
    if os.environ.get(WITHOUT_FUSE):
        return found
    if shutil.which("pkg-config") is None:
        found["pkg-config"] = "pkg-config"
        found["libfuse 3"] = "libfuse3-dev"
    elif subprocess.run(["pkg-config", "--exists", "fuse3 >= 3.2.0"], check=False).returncode:
        found["libfuse 3"] = "libfuse3-dev"
    return found


def require() -> None:
    """End with what to install, if anything is missing."""
    if found := missing():
        packages = " ".join(found.values())
        sys.exit(
            f"\ntierfs needs {', '.join(found)} to be installed.\n"
            f"On Debian and Ubuntu: apt-get install {packages}\n"
            "On Fedora and its like: dnf install gcc pkgconf fuse3-devel python3-devel\n"
        )


def _checked(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, behind the look: a front end calls one or the other first."""

    @functools.wraps(hook)
    def checked(*args: object, **kwargs: object) -> Any:  # noqa: ANN401 - the hook's own
        require()
        return hook(*args, **kwargs)

    return checked


get_requires_for_build_wheel = _checked(build_meta.get_requires_for_build_wheel)
get_requires_for_build_editable = _checked(build_meta.get_requires_for_build_editable)
prepare_metadata_for_build_wheel = _checked(build_meta.prepare_metadata_for_build_wheel)
prepare_metadata_for_build_editable = _checked(build_meta.prepare_metadata_for_build_editable)
