"""Build steps that pyproject.toml cannot say: protobuf code and the Cython extension."""

import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent


class BuildEverything(build_ext):
    """Generate protobuf modules, then compile the extension."""

    def run(self):
        subprocess.run([sys.executable, str(ROOT / "tools" / "gen_proto.py")], check=True)
        super().run()


def extensions():
    if not (ROOT / "native" / "_native.pyx").exists():
        return []
    from Cython.Build import cythonize

    sources = [
        "native/_native.pyx",
        *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "native/csrc").glob("*.c")),
    ]
    extension = Extension(
        "native._native",
        sources,
        include_dirs=["native/csrc"],
        depends=sorted(str(path.relative_to(ROOT)) for path in (ROOT / "native/csrc").glob("*.h")),
        extra_compile_args=["-O3", "-std=c11"],
    )
    return cythonize([extension], compiler_directives={"language_level": 3})


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildEverything})
