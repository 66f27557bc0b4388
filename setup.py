"""Build steps that pyproject.toml cannot say: protobuf code, the page, and the Cython extension."""

import os
import subprocess
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def generate_proto():
    subprocess.run([sys.executable, str(ROOT / "tools" / "gen_proto.py")], check=True)


class BuildPython(build_py):
    """Generate protobuf modules and build the page, before the files of the packages are collected."""

    def run(self):
        generate_proto()
        if not self.editable_mode:
            subprocess.run(
                [str(ROOT / "tools" / "build_web")], check=True, env={**os.environ, "PYTHON": sys.executable}
            )
        super().run()


class BuildExtension(build_ext):
    """Generate protobuf modules, then compile the extension."""

    def run(self):
        generate_proto()
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


setup(ext_modules=extensions(), cmdclass={"build_py": BuildPython, "build_ext": BuildExtension})
