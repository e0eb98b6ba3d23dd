"""Shared parts of the HTML pages: templates, and pictures inside the page."""

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rhobeta.model.serialization import SavedModel


def render_page(template: str, saved: "SavedModel", **values: Any) -> str:
    """Render a page about a model, with its parameters and layer sizes."""
    layers = [str(size) for size in saved.model.architecture.layer_sizes]
    return render_template(
        template,
        parameters=saved.description.parameters,
        layers="-".join([*layers, *layers[-2::-1]]),
        **values,
    )


def render_template(template: str, **values: Any) -> str:
    """Render a template of this folder; values are escaped, and a missing one is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("rhobeta.reporting", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def png_source(content: bytes) -> str:
    """The bytes of a PNG as an image source, so that the page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}"
