"""Generate Python modules and type stubs from proto/, beside each .proto file."""

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    files = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto").rglob("*.proto"))
    include = Path(protoc.__file__).parent / "_proto"
    arguments = [
        "protoc", f"-I{ROOT}", f"-I{include}", f"--python_out={ROOT}", f"--grpc_python_out={ROOT}",
        f"--mypy_out={ROOT}", f"--mypy_grpc_out={ROOT}", *files,
    ]
    return protoc.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
