"""The page's templates. Home of jinja2. Source: specs/service.md §9."""

from collections.abc import Callable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from creditledger.service.page.wording import FILTERS


class Templates:
    """Every value is escaped, and one that is not there is an error."""

    __slots__ = ("_environment",)

    def __init__(self, *, static_url: Callable[[str], str]) -> None:
        """``static_url``: where a page finds one of its files."""
        self._environment = Environment(
            loader=PackageLoader("creditledger.service.page"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._environment.filters.update(FILTERS)
        self._environment.globals["static"] = static_url

    def render(self, name: str, **values: Any) -> Markup:
        """The template ``name``, filled in."""
        return Markup(self._environment.get_template(name).render(**values))
