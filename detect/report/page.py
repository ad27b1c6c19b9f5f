"""Fill the templates: everything is escaped, and the page may run its own script alone."""

import base64
import hashlib
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from converters.core.distribution import program_version
from detect.report.colours import ON_DARK, ON_LIGHT

UNKNOWN = "–"


@cache
def _environment() -> Environment:
    # autoescape for every template, .svg and .css too: names of classes and cases are strangers'
    environment = Environment(
        loader=PackageLoader("detect.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"rate": rate, "interval": interval, "thousands": thousands}
    environment.filters["coordinate"] = "{:g}".format
    # `tojson` turns <, >, & and ' into \uXXXX, so that no string can end the script element
    environment.policies["json.dumps_kwargs"] = {
        "allow_nan": False,
        "separators": (",", ":"),
        "sort_keys": True,
    }
    return environment


def render(template: str, **values: Any) -> Markup:
    """Fill one template; what is not `Markup` is escaped."""
    return Markup(_environment().get_template(template).render(**values))  # noqa: S704


def render_page(template: str, **values: Any) -> str:
    """Fill a whole page: with the style, the script, and a policy that lets no other one run."""
    style, script = render("style.css", on_light=ON_LIGHT, on_dark=ON_DARK), _source("browser.js")
    return render(
        template,
        style=style,
        script=Markup(script),  # noqa: S704 - our own file
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=program_version(),
        **values,
    )


def _source(name: str) -> str:
    return (files("detect.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def rate(value: float | None, digits: int = 3) -> str:
    """Write a number with three decimals; a dash where it is undefined."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    return f"{value:.{digits}f}"


def interval(ends: Sequence[float | None] | None, digits: int = 3) -> str:
    """Write an interval as `0.512–0.634`; a dash where it is undefined."""
    if not ends or any(end is None or not math.isfinite(end) for end in ends):
        return UNKNOWN
    return "–".join(rate(end, digits) for end in ends)


def thousands(value: float | None) -> str:
    """Write a count with thin spaces between the thousands."""
    return UNKNOWN if value is None else f"{int(value):,}".replace(",", "\u202f")
