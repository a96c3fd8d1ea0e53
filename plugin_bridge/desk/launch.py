"""The page on this machine, and nowhere else."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

# Read when Gradio is imported.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from plugin_bridge.desk.page import CSS, build_page, theme
from plugin_bridge.desk.separation import Models


async def _no_room(request: Request, error: Exception) -> Response:
    """A sound that there is no room for is a sentence in the page."""
    reason = getattr(error, "strerror", None) or error
    return PlainTextResponse(f"the sound cannot be taken in: {reason}; make room", 507)


@contextmanager
def running_page(
    model: str, port: int | None = None, share: bool = False, browser: bool = False
) -> Iterator[str]:
    """Serve the page inside a ``with`` statement; what it made is removed in the end.

    Args:
        model: Name of an installed model, or path of a bundle.
        port: Of the loopback address; a free one if None.
        share: Make it reachable from elsewhere, over a service of Gradio's makers.
        browser: Open a browser on it.

    Yields:
        Its address.

    Raises:
        BundleError: The model is unknown or damaged.
        OSError: The port is taken.
    """
    models = Models(model)
    # Load it now: what is wrong with it is told here.
    models[model]
    with tempfile.TemporaryDirectory(prefix="audiosep-desk-", ignore_cleanup_errors=True) as root:
        before, tempfile.tempdir = tempfile.tempdir, root
        os.environ["GRADIO_TEMP_DIR"] = root
        page = build_page(models, loopback=not share)
        try:
            _, local, public = page.queue().launch(
                server_name="127.0.0.1",
                server_port=port,
                share=share,
                inbrowser=browser,
                prevent_thread_lock=True,
                quiet=True,
                ssr_mode=False,
                pwa=False,
                enable_monitoring=False,
                footer_links=[],
                app_kwargs={"exception_handlers": {OSError: _no_room}},
                theme=theme(),
                css=CSS,
            )
            yield public or local
        finally:
            page.close(verbose=False)
            tempfile.tempdir = before
            del os.environ["GRADIO_TEMP_DIR"]
