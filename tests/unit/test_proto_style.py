"""The contracts between services keep their style: everything is explained, enums and lists have their usual shape."""

import importlib.resources
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[2]
FILES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "proto" / "lodepool").rglob("*.proto"))

# Numbers of the fields in FileDescriptorProto and below, by which comments are found.
# Source: descriptor.proto, SourceCodeInfo.
MESSAGE, ENUM, SERVICE = 4, 5, 6
NESTED_MESSAGE, NESTED_ENUM, FIELD, ONEOF = 3, 4, 2, 8
VALUE, METHOD = 2, 2


@dataclass(frozen=True)
class Named:
    path: tuple[int, ...]
    name: str


@cache
def descriptors() -> dict[str, FileDescriptorProto]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "all.pb"
        include = importlib.resources.files("grpc_tools") / "_proto"
        arguments = ["protoc", f"-I{ROOT}", f"-I{include}", "--include_source_info", f"--descriptor_set_out={out}"]
        assert protoc.main([*arguments, *FILES]) == 0
        found = FileDescriptorSet.FromString(out.read_bytes())
    return {file.name: file for file in found.file}


def enum_parts(enum: EnumDescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Named]:
    yield Named(path, name)
    for index, value in enumerate(enum.value):
        yield Named((*path, VALUE, index), f"{name}.{value.name}")


def message_parts(message: DescriptorProto, path: tuple[int, ...], name: str) -> Iterator[Named]:
    if message.options.map_entry:
        return
    yield Named(path, name)
    for index, field in enumerate(message.field):
        yield Named((*path, FIELD, index), f"{name}.{field.name}")
    for index, enum in enumerate(message.enum_type):
        yield from enum_parts(enum, (*path, NESTED_ENUM, index), f"{name}.{enum.name}")
    for index, nested in enumerate(message.nested_type):
        yield from message_parts(nested, (*path, NESTED_MESSAGE, index), f"{name}.{nested.name}")


def parts(file: FileDescriptorProto) -> Iterator[Named]:
    for index, message in enumerate(file.message_type):
        yield from message_parts(message, (MESSAGE, index), message.name)
    for index, enum in enumerate(file.enum_type):
        yield from enum_parts(enum, (ENUM, index), enum.name)
    for index, service in enumerate(file.service):
        yield Named((SERVICE, index), service.name)
        for number, method in enumerate(service.method):
            yield Named((SERVICE, index, METHOD, number), f"{service.name}.{method.name}")


def enums(file: FileDescriptorProto) -> Iterator[EnumDescriptorProto]:
    def within(message: DescriptorProto) -> Iterator[EnumDescriptorProto]:
        yield from message.enum_type
        for nested in message.nested_type:
            yield from within(nested)

    yield from file.enum_type
    for message in file.message_type:
        yield from within(message)


def test_there_are_contracts() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("name", FILES)
def test_everything_has_a_comment(name: str) -> None:
    file = descriptors()[name]
    comments = {
        tuple(location.path): (location.leading_comments or location.trailing_comments).strip()
        for location in file.source_code_info.location
    }
    assert [part.name for part in parts(file) if not comments.get(part.path)] == []


@pytest.mark.parametrize("name", FILES)
def test_the_zero_of_an_enum_is_unspecified(name: str) -> None:
    zeros = [value.name for enum in enums(descriptors()[name]) for value in enum.value if value.number == 0]
    assert [zero for zero in zeros if not zero.endswith("_UNSPECIFIED")] == []


@pytest.mark.parametrize("name", FILES)
def test_list_methods_have_pages(name: str) -> None:
    file = descriptors()[name]
    fields = {
        f".{file.package}.{message.name}": {field.name for field in message.field} for message in file.message_type
    }
    lists = [method for service in file.service for method in service.method if method.name.startswith("List")]
    without = [
        method.name
        for method in lists
        if not {"page_size", "page_token"} <= fields[method.input_type]
        or "next_page_token" not in fields[method.output_type]
    ]
    assert not without


@pytest.mark.parametrize("name", FILES)
def test_packages_carry_their_version(name: str) -> None:
    service = Path(name).parts[2]
    assert descriptors()[name].package == f"lodepool.{service}.v1"
