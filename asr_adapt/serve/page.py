"""The web page at `/`, a single self-contained file, and the API reference at `/docs`, without scripts."""

import base64
import hashlib
import html
import re
from functools import cache
from importlib import resources

from fastapi import FastAPI
from starlette.responses import HTMLResponse

from asr_adapt.serve.limits import Limits


def add(app: FastAPI, limits: Limits) -> None:
    """Add both pages to an application; the page names its limits."""

    @app.get("/", response_class=HTMLResponse, include_in_schema=False)
    async def page() -> HTMLResponse:
        text = _text(limits)
        return HTMLResponse(text, headers=_headers(text))

    @app.get("/docs", response_class=HTMLResponse, include_in_schema=False)
    async def docs() -> HTMLResponse:
        text = _reference(app.openapi())
        return HTMLResponse(text, headers=_headers(text))


@cache
def _text(limits: Limits) -> str:
    text = resources.files("asr_adapt.serve").joinpath("page.html").read_text(encoding="utf-8")
    return text.replace("{{max_bytes}}", str(limits.upload_bytes)).replace("{{max_s}}", f"{limits.audio_s:g}")


def _headers(text: str) -> dict[str, str]:
    """Return a content security policy that allows only a page's own inline script and style, and this server."""

    def hashes(tag: str) -> str:
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digests = (base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in found)
        return " ".join(f"'sha256-{digest}'" for digest in digests) or "'none'"

    policy = (
        f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
        "media-src blob:; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }


def _reference(schema: dict) -> str:
    """Render an OpenAPI document as HTML."""
    rows = []
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            form = about.get("requestBody", {}).get("content", {}).get("multipart/form-data", {}).get("schema", {})
            fields = "".join(
                f"<dt><code>{html.escape(name)}</code></dt><dd>{html.escape(_describe(field))}</dd>"
                for name, field in form.get("properties", {}).items()
            )
            statuses = ", ".join(about["responses"])
            rows.append(
                f"<section><h2><code>{method.upper()} {html.escape(path)}</code></h2>"
                f"<p>{html.escape(about.get('summary', ''))}. Responses: {statuses}.</p><dl>{fields}</dl></section>"
            )
    style = "body{font:16px/1.5 system-ui;max-width:46rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    return (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>asr_adapt</title><style>{style}</style>"
        "<h1>API reference</h1><p>Compatible with OpenAI's transcription API. Full schema: <a href='openapi.json'>"
        f"openapi.json</a>.</p>{''.join(rows)}</html>"
    )


def _describe(field: dict) -> str:
    values = field.get("enum") or field.get("items", {}).get("enum")
    listed = f" One of {', '.join(values)}." if values else ""
    default = f" Default: {field['default']}." if "default" in field else ""
    return f"{field.get('description', '')}{listed}{default}".strip()
