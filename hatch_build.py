"""Compiles kplpy/accelerator/native.pyx into the wheel, where that is possible. Otherwise the wheel is pure Python.

It needs a C compiler, Python's headers and Cython. KPLPY_ACCELERATOR in the environment chooses: no (a pure wheel),
must (a failure is an error), auto. The extension is for the stable ABI of Python 3.10 and later, so one wheel serves
all of them. `python hatch_build.py` compiles into this source tree, as an editable install does.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a program
    BuildHookInterface = object  # type: ignore[assignment,misc]

CYTHON = "cython>=3.3"
EXTENSION = "native.abi3.so"
REASON = "not_built.txt"
FLAGS = ["-O2", "-fwrapv", "-fPIC", "-shared", "-DPy_LIMITED_API=0x030A0000", "-DNDEBUG"]


class NotBuilt(Exception):
    """Why the extension cannot be compiled, in one line."""


def folder(root: Path) -> Path:
    return root / "kplpy" / "accelerator"


def sources(root: Path) -> list[Path]:
    """Return the files that the extension is made of."""
    return sorted(each for each in folder(root).iterdir() if each.suffix in (".pyx", ".pxi", ".h"))


def digest(root: Path) -> str:
    """Return a digest of the sources, which a test compares with the extension's."""
    return hashlib.sha256(b"".join(each.read_bytes() for each in sources(root))).hexdigest()[:16]


def compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


def check_compiler() -> None:
    """Raise NotBuilt unless an extension for this Python can be compiled."""
    if sys.implementation.name != "cpython":
        raise NotBuilt(f"it is for CPython, and this is {sys.implementation.name}")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        raise NotBuilt("it needs the GIL, and this Python is free-threaded")
    with tempfile.TemporaryDirectory() as made:
        source = Path(made) / "empty.c"
        source.write_text("#include <Python.h>\n")
        compile_c(source, Path(made) / "empty.so", [])


def compile_c(source: Path, target: Path, options: list[str]) -> None:
    command = [*compiler(), *FLAGS, *options, f"-I{sysconfig.get_path('include')}", str(source), "-o", str(target)]
    if sys.platform == "darwin":
        command += ["-undefined", "dynamic_lookup"]
    command += shlex.split(os.environ.get("KPLPY_CFLAGS", ""))  # such as -fsanitize=address
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise NotBuilt(f"no C compiler: {error}") from error
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or [""]
        raise NotBuilt(f"{shlex.join(compiler())} failed: {lines[0].strip()}")


def build(root: Path, target: Path) -> None:
    """Compile the extension. Raises NotBuilt."""
    check_compiler()
    try:
        import Cython.Compiler.Main
    except ImportError as error:
        raise NotBuilt(f"{CYTHON} is not installed") from error
    with tempfile.TemporaryDirectory() as made:
        source = Path(made) / "native.c"
        options = Cython.Compiler.Main.CompilationOptions(
            Cython.Compiler.Main.default_options, output_file=str(source), include_path=[str(folder(root))]
        )
        result = Cython.Compiler.Main.compile(
            str(folder(root) / "native.pyx"), options, full_module_name="kplpy.accelerator.native"
        )
        if result.num_errors:
            raise NotBuilt(f"Cython reported {result.num_errors} errors")
        own = [f"-I{folder(root)}", f'-DKPL_SOURCES="{digest(root)}"']
        # Not over the old file, which a running Python may have mapped.
        new = target.with_name(f".{target.name}.{os.getpid()}")
        compile_c(source, new, own)
        new.replace(target)


class CustomBuildHook(BuildHookInterface):  # type: ignore[misc]
    """hatchling calls it for each wheel, also an editable one."""

    def _wanted(self) -> str:
        return os.environ.get("KPLPY_ACCELERATOR") or "auto"

    def dependencies(self) -> list[str]:
        """Return what to install for the build: Cython, if there is a compiler."""
        if self._wanted() == "no" or self.target_name != "wheel":
            return []
        try:
            check_compiler()
        except NotBuilt:
            return []
        return [CYTHON]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        made = folder(root) if version == "editable" else Path(tempfile.mkdtemp())
        for name in (EXTENSION, REASON):
            (made / name).unlink(missing_ok=True)
        try:
            if self._wanted() == "no":
                raise NotBuilt("KPLPY_ACCELERATOR=no when it was installed")
            build(root, made / EXTENSION)
        except NotBuilt as error:
            if self._wanted() == "must":
                message = f"KPLPY_ACCELERATOR=must, and the accelerator cannot be compiled: {error}"
                raise RuntimeError(message) from error
            self.app.display_warning(f"kplpy will run in pure Python: {error}")
            (made / REASON).write_text(f"{error}\n", encoding="utf-8")
            name = REASON
        else:
            name = EXTENSION
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"cp310-abi3-{platform}"
        if version != "editable":
            build_data["force_include"][str(made / name)] = f"kplpy/accelerator/{name}"


if __name__ == "__main__":
    here = Path(__file__).parent
    try:
        build(here, folder(here) / EXTENSION)
    except NotBuilt as error:
        sys.exit(f"the accelerator cannot be compiled: {error}")
    (folder(here) / REASON).unlink(missing_ok=True)
