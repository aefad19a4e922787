"""Builds the compiled modules; everything else about the package stands in pyproject.toml.

One extension per flowmq/_*.pyx. FLOWMQ_BUILD chooses how they are compiled:

    release  for speed; the default
    debug    index checks, asserts, -DFLOWMQ_DEBUG=1, every warning an error
    cover    line tracing, for coverage of .pyx files (the C stays beside its .pyx, where the coverage plugin looks)
    asan     address and undefined-behaviour sanitizers

FLOWMQ_BENCH=1 with `build_ext --inplace` builds bench/_*.pyx too, which are never part of a wheel.

All modules of a build carry the same FLOWMQ_CONTRACT, a hash of every .pxd file and of the mode, and refuse to load
beside one that carries another.
"""

import os
import platform
from hashlib import sha256
from pathlib import Path

from Cython import __version__ as cython_version
from Cython.Build import cythonize
from Cython.Compiler import Options
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

UNCHECKED = {
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "nonecheck": False,
    "cdivision": True,
}
CHECKED = {"boundscheck": True, "wraparound": False, "initializedcheck": True, "nonecheck": True, "cdivision": True}
# Cython's own output, not our sources, trips these.
GENERATED_CODE = ["-Wno-unused-parameter", "-Wno-unused-function", "-Wno-unused-but-set-variable"]
GENERATED_CODE += ["-Wno-missing-field-initializers", "-Wno-cast-function-type", "-Wno-sign-compare"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]

# mode: (Cython directives, C macros, compiler arguments, linker arguments)
MODES = {
    "release": (UNCHECKED, {}, ["-O3", "-g0", "-fno-plt", "-fvisibility=hidden"], []),
    "debug": (
        CHECKED,
        {"FLOWMQ_DEBUG": "1"},
        ["-O1", "-g", "-UNDEBUG", "-Wall", "-Wextra", "-Werror", *GENERATED_CODE],
        [],
    ),
    "cover": (
        {**CHECKED, "linetrace": True},
        {"CYTHON_TRACE": "1", "CYTHON_TRACE_NOGIL": "1", "CYTHON_USE_SYS_MONITORING": "0"},
        ["-O0", "-g"],
        [],
    ),
    "asan": (
        CHECKED,
        {"FLOWMQ_DEBUG": "1"},
        ["-O1", "-g", "-UNDEBUG", "-fno-omit-frame-pointer", *SANITIZERS],
        SANITIZERS,
    ),
}

os.chdir(Path(__file__).resolve().parent)
MODE = os.environ.get("FLOWMQ_BUILD") or "release"
if MODE not in MODES:
    raise SystemExit(f"FLOWMQ_BUILD={MODE}: no such mode; one of {', '.join(MODES)}")
DIRECTIVES, MACROS, COMPILE_ARGUMENTS, LINK_ARGUMENTS = MODES[MODE]
CONTRACTS = sorted(Path("flowmq").glob("*.pxd"))
BUILD_BASE = Path("build", MODE)


def contract() -> str:
    digest = sha256(MODE.encode())
    for path in CONTRACTS:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


def fingerprint() -> str:
    """What all compiled files depend on together; when it changes, every one of them is built again."""
    parts = [contract(), MODE, cython_version, platform.python_version(), Path(__file__).read_text()]
    return sha256("\0".join(parts).encode()).hexdigest()


def extension(source: Path) -> Extension:
    return Extension(
        ".".join(source.with_suffix("").parts),
        [str(source)],
        depends=[str(path) for path in CONTRACTS],
        define_macros=[("FLOWMQ_CONTRACT", f'"{contract()}"'), *MACROS.items()],
        extra_compile_args=COMPILE_ARGUMENTS,
        extra_link_args=LINK_ARGUMENTS,
    )


def sources(with_bench: bool) -> list[Path]:
    found = sorted(Path("flowmq").glob("_*.pyx"))
    if with_bench:
        found += sorted(Path("bench").glob("_*.pyx"))
    return found


class BuildExtensions(build_ext):
    """Translates only when it runs, since sdist needs no translation; builds all anew when the fingerprint changes."""

    def finalize_options(self) -> None:
        self.parallel = self.parallel or 2
        with_bench = bool(self.inplace) and os.environ.get("FLOWMQ_BENCH") == "1"
        self.distribution.ext_modules = [extension(path) for path in sources(with_bench)]
        super().finalize_options()

    def run(self) -> None:
        stamp, current = BUILD_BASE / "fingerprint", fingerprint()
        self.force = bool(self.force) or not stamp.exists() or stamp.read_text() != current
        # Without its stamp an interrupted build counts as none.
        stamp.unlink(missing_ok=True)
        self.translate()
        super().run()
        stamp.write_text(current)

    def copy_extensions_to_source(self) -> None:
        # What lies in the tree may be newer and yet of another mode.
        self.force = True
        super().copy_extensions_to_source()

    def translate(self) -> None:
        strict = MODE == "debug"
        Options.warning_errors = strict
        translated = cythonize(
            [extension(Path(found.sources[0])) for found in self.extensions],
            build_dir=None if MODE == "cover" else str(BUILD_BASE / "c"),
            # Worker processes started other than by fork would not see Options.warning_errors.
            nthreads=0 if strict else 2,
            force=self.force,
            compiler_directives={"language_level": 3, **DIRECTIVES},
        )
        c_sources = {found.name: found.sources for found in translated}
        for found in self.extensions:
            found.sources = c_sources[found.name]


# Guarded: cythonize's worker processes may import this file.
if __name__ == "__main__":
    setup(
        # A placeholder tells setuptools that this package is compiled; BuildExtensions lists what there is.
        ext_modules=[Extension("flowmq._frame", ["flowmq/_frame.pyx"])],
        cmdclass={"build_ext": BuildExtensions},
        options={"build": {"build_base": str(BUILD_BASE)}},
    )
