"""Rendering the templates of pages and of the model card. A page is one file that loads nothing else."""

import base64
import functools
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from asr_adapt.records import describe_duration


def render(template: str, script: str | None = None, **values: Any) -> str:
    """Return a template filled with values, which are escaped in HTML.

    Args:
        template: File name. Pages extend `base.html`.
        script: File name of a page's JavaScript. The page's content security policy allows no other script.
        values: The variables of the template; a missing one is an error.
    """
    text = (
        resources.files("asr_adapt.report").joinpath("templates", script).read_text(encoding="utf-8")
        if script
        else ""
    )
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return _environment().get_template(template).render(values, script=Markup(text), script_sha256=digest)


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("asr_adapt", "report/templates"),
        autoescape=jinja2.select_autoescape(default=True, disabled_extensions=("md",)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["duration"] = describe_duration
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["rate"] = lambda value: f"{value:.3f}"
    environment.filters["share"] = lambda value: f"{value:.1%}".replace("%", " %")
    return environment
