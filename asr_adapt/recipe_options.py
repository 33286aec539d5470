"""A recipe's fields as options of the command line: `--train.steps 1000`, and the help that lists them."""

import argparse
import re
import shutil
from pathlib import Path
from typing import Any

from asr_adapt.errors import InputError
from asr_adapt.recipe import Recipe, field_error, refuse_moved_options

_PLACEHOLDERS = {
    "str": "<text>",
    "Path": "<path>",
    "{Path,str}": "<path>",
    "int": "<int>",
    "float": "<number>",
    "bool": "<true|false>",
    "tuple[str,...]": "<text>,…",
    "tuple[float,float]": "<number>,<number>",
    "tuple[JSON,...]": "<JSON list>",
}
_SHOWN_DEFAULTS = {"True": " (default: true)", "False": " (default: false)"}
_WIDEST_CHOICE = 60
_WIDTH = 120


def override(recipe: Recipe, arguments: list[str], name: str = "", script: str = "RECIPE.py") -> tuple[Recipe, Path]:
    """Return a recipe with the command line's values, and the run folder. `script --help` lists the fields.

    Args:
        recipe: What holds where the command line says nothing.
        arguments: Options, `--section.field value`, and `--out`.
        name: Name of the run folder below `runs/`, unless `--out` is given.
        script: The script's name, for help and errors.

    Raises:
        InputError: an option is unknown, or its value impossible.
        SystemExit: help was asked for and printed.
    """
    if not arguments:
        return recipe, Path("runs") / name

    from pydantic import Field, ValidationError, create_model
    from pydantic_settings import BaseSettings, CliSettingsSource, SettingsConfigDict, SettingsError

    refuse_moved_options(arguments)

    class CommandLine(BaseSettings):
        model_config = SettingsConfigDict(
            cli_prog_name=script,
            cli_exit_on_error=False,
            cli_avoid_json=True,
            cli_hide_none_type=True,
            cli_use_class_docs_for_groups=True,
            nested_model_default_partial_update=True,
            extra="forbid",
        )

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: Any, init_settings: Any, *_: Any, **__: Any
        ) -> tuple[Any, ...]:
            """Read the command line only, never the environment."""
            return (init_settings,)

    fields: dict[str, Any] = {field: (info.annotation, Field(getattr(recipe, field), description=info.description))
                              for field, info in Recipe.model_fields.items()}  # fmt: skip
    out = (Path, Field(Path("runs") / name, description="run folder; the same one again resumes"))
    parser: Any = create_model("parser", __base__=CommandLine, out=out, **fields)
    try:
        source: Any = CliSettingsSource(parser, cli_parse_args=arguments, formatter_class=_Help)
        parsed: Any = parser(_cli_settings_source=source)
        whole = Recipe.model_validate({field: getattr(parsed, field) for field in fields})
    except SettingsError as error:
        complaint = str(error).removeprefix("error parsing CLI: ")
        raise InputError(complaint, place="command line", remedy=f"{script} --help lists the fields.") from error
    except ValidationError as error:
        raise field_error(error, "command line") from error
    return whole, parsed.out


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help with placeholders in place of Python's types, and without `None`."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=38, width=min(_WIDTH, shutil.get_terminal_size().columns - 2))

    def add_usage(self, usage: Any, actions: Any, groups: Any, prefix: Any = None) -> None:
        """Print the usage in one line: a hundred options in brackets say nothing that the list does not."""
        super().add_usage("%(prog)s [--out <path>] [--SECTION.FIELD <value>]...", (), (), prefix)

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        name = str(action.metavar or default_metavar)
        return _PLACEHOLDERS.get(name, name if len(name) < _WIDEST_CHOICE and "dict" not in name else "<value>")

    def _expand_help(self, action: argparse.Action) -> str:
        text = super()._expand_help(action)
        if text.endswith(" (default: None)"):
            text = re.sub(r"\bNone: ", "default: ", text.removesuffix(" (default: None)"))
        choices = re.fullmatch(r"\{(\w+(,\w+)*)\}", str(action.metavar or ""))
        if choices and len(choices[0]) >= _WIDEST_CHOICE:
            text += f"; one of {choices[1].replace(',', ', ')}"
        return re.sub(
            r" \(default: (\(\)|\{\}|True|False|)\)$", lambda found: _SHOWN_DEFAULTS.get(found[1], ""), text
        )
