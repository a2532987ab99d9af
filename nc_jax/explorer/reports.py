"""The latest reports on dropped files, kept in memory at addresses that cannot be guessed."""

import secrets

from starlette.responses import HTMLResponse, Response

# Number of reports that are kept; older ones are deleted.
KEPT = 5
# A report runs only its own scripts, outside the origin of the explorer, and loads nothing.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; "
        "sandbox allow-scripts allow-downloads"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Reports:
    """HTML files by name."""

    def __init__(self) -> None:
        self._pages: dict[str, str] = {}

    def add(self, html: str) -> str:
        """Stores a report, deletes the oldest ones, and returns its name."""
        name = secrets.token_urlsafe(16)
        self._pages[name] = html
        while len(self._pages) > KEPT:
            del self._pages[next(iter(self._pages))]
        return name

    def answer(self, name: str) -> Response:
        """The report with this name; 404 with a sentence if there is none."""
        html = self._pages.get(name)
        if html is None:
            sentence = "This report has been deleted: drop the file again."
            return Response(sentence, 404, HEADERS, "text/plain")
        return HTMLResponse(html, headers=HEADERS)
