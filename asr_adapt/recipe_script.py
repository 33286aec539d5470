"""Recipe scripts: loading one, writing sections of a recipe as Python, and editing the sections of a script."""

import ast
import runpy
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from asr_adapt.errors import InputError, printable
from asr_adapt.recipe import Recipe, field_error
from asr_adapt.storage import read_text, write_text

LINE_WIDTH = 116


def load(script: Path) -> Recipe:
    """Return the RECIPE of a script, which is executed.

    Raises:
        InputError: there is no such script, it defines no RECIPE, or a field of it is unknown or impossible.
    """
    if not script.is_file():
        raise InputError("no such file", place=script, remedy="Give the path of a recipe script.")
    try:
        recipe = runpy.run_path(str(script)).get("RECIPE")
    except ValidationError as error:
        raise field_error(error, script) from error
    if not isinstance(recipe, Recipe):
        raise InputError("does not define RECIPE", place=script, remedy="A recipe script has RECIPE = Recipe(...).")
    return recipe


def call(section: BaseModel, always: tuple[str, ...] = ()) -> str:
    """Return a section as Python, with the fields that differ from their defaults and those of `always`."""
    default = type(section)()
    fields = {
        name: value
        for name in type(section).model_fields
        if (value := getattr(section, name)) != getattr(default, name) or name in always
    }
    return f"{type(section).__name__}({', '.join(f'{name}={literal(value)}' for name, value in fields.items())})"


def literal(value: object) -> str:
    """Return a value as a Python literal in double quotation marks; what cannot be printed is escaped."""
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        return f'"{value}"' if value.isprintable() and not {'"', "\\"} & {*value} else repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    return repr(value)


def comment(text: str, indent: str = "    ") -> list[str]:
    """Return the lines of a comment."""
    return textwrap.wrap(printable(text), LINE_WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ",
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip


@dataclass(frozen=True)
class Edit:
    """A recipe script with other sections, not written yet."""

    script: Path
    source: str
    sections: Mapping[str, str]
    """section → its new code"""

    def write(self) -> None:
        """Replace the script."""
        write_text(self.script, self.source)


def edit(script: Path, sections: Mapping[str, BaseModel | tuple], comments: Mapping[str, str] | None = None) -> Edit:
    """Return a recipe script with sections replaced or added. What is replaced stays above them as a comment.

    Args:
        script: A script with `RECIPE = Recipe(…)`.
        sections: Section's name → its new value.
        comments: Section's name → comment above it.

    Raises:
        InputError: the script's RECIPE is not one plain call; the error has the sections, to be edited by hand.
    """
    codes = {
        name: call(value) if isinstance(value, BaseModel) else literal(value) for name, value in sections.items()
    }
    by_hand = InputError(
        "RECIPE is not written in a way that can be edited automatically", place=script,
        remedy="Edit it by hand: " + ", ".join(f"{name}={code}" for name, code in codes.items()) + ".",
    )  # fmt: skip
    expected = load(script).model_copy(update=dict(sections))
    source = read_text(script)
    try:
        for name, code in codes.items():
            source = _with_section(source, name, code, (comments or {}).get(name, ""))
        source = _with_imports(source, {type(v).__name__ for v in sections.values() if isinstance(v, BaseModel)})
        module: dict[str, Any] = {"__name__": "<run_path>", "__file__": str(script)}
        exec(compile(source, str(script), "exec"), module)
    except (LookupError, SyntaxError, NameError, ValidationError) as error:
        raise by_hand from error
    if module.get("RECIPE") != expected:
        raise by_hand
    return Edit(script, source, codes)


def _with_section(source: str, name: str, code: str, comment_above: str) -> str:
    """Return the source with `name=code` in its recipe; LookupError if there is no call to put it into."""
    assigned = [node for node in ast.parse(source).body if isinstance(node, ast.Assign | ast.AnnAssign)]
    recipe = next((
        node.value for node in assigned if isinstance(node.value, ast.Call)
        and any(isinstance(t, ast.Name) and t.id == "RECIPE"
                for t in (node.targets if isinstance(node, ast.Assign) else [node.target]))
    ), None)  # fmt: skip
    if recipe is None or not recipe.keywords:
        raise LookupError(name)
    keywords = {keyword.arg: keyword for keyword in recipe.keywords}
    present = keywords.get(name)
    anchor = present or keywords.get("corpus") or recipe.keywords[-1]
    start, end = _span(source, anchor)
    data = source.encode()
    before, old, after = data[:start].decode(), data[start:end].decode(), data[end:].decode()
    line_start = before.rpartition("\n")[2]
    indent = line_start if not line_start.strip() else "    "
    above = comment(comment_above, indent) if comment_above else []
    if present is None:
        return f"{before}{old},\n" + "\n".join([*above, f"{indent}{name}={code}"]) + after
    if line_start.strip():  # in the middle of a line, where a comment has no place
        return f"{before}{name}={code}{after}"
    replaced = [f"{indent}# {line.strip()}" for line in f"replaced by asr-adapt doctor: {old}".split("\n")]
    return before.removesuffix(line_start) + "\n".join([*replaced, *above, f"{indent}{name}={code}"]) + after


def _with_imports(source: str, names: set[str]) -> str:
    """Return the source with the names imported from `asr_adapt`."""
    imports = [node for node in ast.parse(source).body if isinstance(node, ast.ImportFrom | ast.Import)]
    bound = {alias.asname or alias.name for node in imports for alias in node.names}
    if not (missing := sorted(names - bound)):
        return source
    homes = ("asr_adapt", "asr_adapt.recipe")
    home = next((node for node in imports if isinstance(node, ast.ImportFrom) and node.module in homes), None)
    _, end = _span(source, home.names[-1] if home else imports[-1])
    data = source.encode()
    added = f", {', '.join(missing)}" if home else f"\nfrom asr_adapt import {', '.join(missing)}"
    return data[:end].decode() + added + data[end:].decode()


def _span(source: str, node: ast.keyword | ast.alias | ast.stmt) -> tuple[int, int]:
    """Return where a node starts and ends, in bytes of the UTF-8 source."""
    lines = source.encode().splitlines(keepends=True)
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (
        sum(map(len, lines[: node.lineno - 1])) + node.col_offset,
        sum(map(len, lines[: node.end_lineno - 1])) + node.end_col_offset,
    )
