"""The page's own files, served under headers that let it load nothing else."""

from __future__ import annotations

import mimetypes
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from orchestrator.openai.answering import Handler

_FOLDER = Path(__file__).parent / "static"
_INDEX = "index.html"

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",  # modules of two versions must never meet
}


def routes() -> list[Route]:
    """``/`` and the files beside it, each by name: no path of a request reaches the disk."""
    files = [path for path in sorted(_FOLDER.iterdir()) if path.name != _INDEX]
    return [
        Route("/", _served(_FOLDER / _INDEX)),
        *(Route(f"/playground/{path.name}", _served(path)) for path in files),
    ]


def _served(path: Path) -> Handler:
    kind = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0]

    async def serve(request: Request) -> Response:
        return FileResponse(path, media_type=kind, headers=_HEADERS)

    return serve
