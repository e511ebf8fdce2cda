"""Pages from templates: text files under a package's `templates/`; those that pages share are under metapo's own."""

from typing import TYPE_CHECKING, Any

from metapo.errors import MissingExtra

if TYPE_CHECKING:
    from jinja2 import Template


def load_page(name: str, package: str = "metapo") -> "Template":
    """The template `name` of a package, which may include metapo's own. What fills an .html or .svg page is escaped,
    what fills any other stands as it is; a name without a value is an error. Raises MissingExtra."""
    try:
        from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
    except ImportError as e:
        raise MissingExtra("eval", "writing a page") from e
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("metapo")]),
        autoescape=name.endswith((".html", ".svg")),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def in_notebook(kind: str, value: Any, note: str = "") -> str | None:
    """HTML by which a notebook shows a value, all text in it escaped; None, for its plain form, without Jinja2."""
    try:
        return load_page("shown.html").render(kind=kind, value=value, note=note)
    except MissingExtra:
        return None
