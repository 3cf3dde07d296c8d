"""YAML text as plain values that know their lines.

What lives here: composing one YAML document safely, the line of every key and item, faults of form. What must not: what
any key means (that is `config`).

Scalars are read as in YAML 1.2's core schema: only `true`/`false` are booleans and only decimal numbers are numbers, so
that the key `on`, the value `off`, a class named `no` and the time `5:30` stay text. A document is bounded in bytes,
depth and values, aliases counted as often as they are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from monitor.errors import OperatorError

Location = tuple[str | int, ...]

MAXIMUM_BYTES = 1024 * 1024
MAXIMUM_VALUES = 20_000
MAXIMUM_DEPTH = 32

_TAG = "tag:yaml.org,2002:"
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a document: its line (from 1; None if it has none), the key's path, and what is wrong."""

    line: int | None
    location: Location
    message: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        path = ".".join(str(part) for part in self.location)
        return f"{place}{path}: {self.message}" if path else f"{place}{self.message}"


class DocumentError(OperatorError):
    """A document with faults; `faults` are all of them, in the order of their lines."""

    def __init__(self, faults: Iterable[Fault], *, where: str) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: (fault.line or 0, tuple(map(str, fault.location)))))
        count = f"{len(self.faults)} {'fault' if len(self.faults) == 1 else 'faults'}"
        super().__init__("\n  ".join((count, *map(str, self.faults))), where=where)


@dataclass
class Document:
    """The values of a document, the line of every location, and what was wrong with its form."""

    data: Any
    lines: dict[Location, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def line(self, location: Location) -> int | None:
        """Line of a location, or of the nearest one around it that the document has."""
        for length in range(len(location), 0, -1):
            if location[:length] in self.lines:
                return self.lines[location[:length]]
        return None

    def fault(self, location: Location, message: str) -> Fault:
        """A fault at a location of this document."""
        return Fault(self.line(location), location, message)


def parse_document(content: bytes, where: str) -> Document:
    """Plain values of one YAML document. Faults of form that leave the rest readable are in `faults`.

    Raises DocumentError where it cannot be read at all: not UTF-8, not YAML, too large, too deep.
    """
    if len(content) > MAXIMUM_BYTES:
        raise _unreadable(f"too large (expected at most {MAXIMUM_BYTES} bytes, got {len(content)})", where)
    try:
        root = _Loader(content.decode("utf-8-sig")).get_single_node()
    except UnicodeDecodeError as error:
        raise _unreadable(f"not UTF-8 text ({error.reason} at byte {error.start})", where) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(f"not YAML: {error.problem}", where, mark.line + 1 if mark else None) from error
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise _unreadable(f"not YAML: {' '.join(str(error).split())[:200]}", where) from error
    document = Document(None)
    if root is not None:
        document.data = _Reader(document, where).value(root, ())
    return document


class _Loader(yaml.SafeLoader):
    """Composes nodes only; nothing is ever constructed from a tag."""

    yaml_implicit_resolvers: dict[str | None, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


# PyYAML anchors nothing itself: the patterns must match the whole scalar.
_Loader.add_implicit_resolver(f"{_TAG}null", re.compile(r"(?:~|null|Null|NULL|)\Z"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver(f"{_TAG}bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), list("tTfF"))
_Loader.add_implicit_resolver(f"{_TAG}int", re.compile(_INTEGER.pattern + r"\Z"), list("-+0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}float", re.compile(_FLOAT.pattern + r"\Z"), list("-+.0123456789"))
_Loader.add_implicit_resolver(f"{_TAG}merge", re.compile(r"<<\Z"), ["<"])


class _Reader:
    """Turns nodes into values, once for every use of an alias."""

    def __init__(self, document: Document, where: str) -> None:
        self._document = document
        self._where = where
        self._values = 0

    def value(self, node: yaml.Node, location: Location) -> Any:
        self._values += 1
        line = node.start_mark.line + 1
        if self._values > MAXIMUM_VALUES:
            raise _unreadable(f"too many values, aliases counted in full (at most {MAXIMUM_VALUES})", self._where, line)
        if len(location) > MAXIMUM_DEPTH:
            raise _unreadable(f"nested too deeply (at most {MAXIMUM_DEPTH} levels)", self._where, line)
        self._document.lines.setdefault(location, line)
        if isinstance(node, yaml.MappingNode) and node.tag == f"{_TAG}map":
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode) and node.tag == f"{_TAG}seq":
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[yaml.Node] = []
        for key, content in node.value:
            if key.tag == f"{_TAG}merge":
                merged += content.value if isinstance(content, yaml.SequenceNode) else [content]
                continue
            name = self._key(key, location)
            if name in values:
                first = self._document.lines[(*location, name)]
                self._fault(key, (*location, name), f"given twice (first in line {first})")
                continue
            self._document.lines[(*location, name)] = key.start_mark.line + 1
            values[name] = self.value(content, (*location, name))
        for other in merged:
            if not isinstance(other, yaml.MappingNode):
                self._fault(other, location, "<< needs a mapping, or a list of mappings")
                continue
            values = self._mapping(_without(other, values), location) | values
        return values

    def _key(self, node: yaml.Node, location: Location) -> str:
        # The text as written: a class or a model may be called 7, on or null.
        if isinstance(node, yaml.ScalarNode) and _is_text(node.value):
            return str(node.value)
        self._fault(node, location, "a key must be a name")
        return ""

    def _scalar(self, node: yaml.Node, location: Location) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if isinstance(node, yaml.ScalarNode) and not _is_text(node.value):
            self._fault(node, location, "half of a character (a lone surrogate) is not text")
            return None
        if isinstance(node, yaml.ScalarNode) and kind in _SCALARS:
            try:
                return _SCALARS[kind](node.value)
            except ValueError:
                self._fault(node, location, f"not {kind}: {node.value!r}")
                return None
        self._fault(node, location, f"the tag {node.tag!r} is not allowed here")
        return None

    def _fault(self, node: yaml.Node, location: Location, message: str) -> None:
        self._document.faults.append(Fault(node.start_mark.line + 1, location, message))


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": int,
    "float": float,
}


def _is_text(value: str) -> bool:
    """Whether a scalar can be written down; an escape such as `"\\ud800"` cannot."""
    return not any("\ud800" <= mark <= "\udfff" for mark in value)


def _without(node: yaml.MappingNode, known: Iterable[Hashable]) -> yaml.MappingNode:
    names = set(known)
    pairs = [(key, value) for key, value in node.value if getattr(key, "value", None) not in names]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)


def _unreadable(message: str, where: str, line: int | None = None) -> DocumentError:
    return DocumentError([Fault(line, (), message)], where=where)
