"""Scripts, styles and the icon: files of the package, under names that change with their content.

No asset comes from another host. htmx, idiomorph and uPlot lie in `assets/vendor` with their
licences; the forms to try an api are the ones of `dosirak serve`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dosirak.errors import NotFound

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
_CONSOLE, _SERVING = "dosirak.deployment.console", "dosirak.serving.http"
_FILES = {
    "console.css": (_CONSOLE, "assets/console.css"),
    "console.js": (_CONSOLE, "assets/console.js"),
    "charts.js": (_CONSOLE, "assets/charts.js"),
    "deployment.js": (_CONSOLE, "assets/deployment.js"),
    "theme.js": (_CONSOLE, "assets/theme.js"),
    "htmx.js": (_CONSOLE, "assets/vendor/htmx.min.js"),
    "idiomorph.js": (_CONSOLE, "assets/vendor/idiomorph.min.js"),
    "uplot.js": (_CONSOLE, "assets/vendor/uPlot.iife.min.js"),
    "uplot.css": (_CONSOLE, "assets/vendor/uPlot.min.css"),
    "licenses.txt": (_CONSOLE, "assets/vendor/LICENSES.txt"),
    "api_forms.js": (_SERVING, "try_page/api_forms.js"),
    "icon.svg": (_SERVING, "try_page/icon.svg"),
}


@dataclass(frozen=True, slots=True)
class Asset:
    """One file as it is sent."""

    body: bytes
    media_type: str
    digest: str


@cache
def asset(name: str) -> Asset:
    """Return a file.

    Raises:
        NotFound: there is none of this name.
    """
    if name not in _FILES:
        raise NotFound("There is no such file.", remedy="Open the console anew.")
    package, path = _FILES[name]
    body = files(package).joinpath(path).read_bytes()
    suffix = "." + name.rpartition(".")[2]
    return Asset(body, _TYPES[suffix], hashlib.sha256(body).hexdigest()[:16])


def asset_url(name: str) -> str:
    """Return the address of a file, which is another one when its content is."""
    return f"/-/{name}?v={asset(name).digest}"
