"""The pages in a real browser, in the sandbox in which MLflow shows them."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from helpers import StartAfter
from helpers.injected import started, wait_until
from rhobeta.paths import Paths

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

# As MLflow's viewer: a blob in a frame that may run scripts and nothing else.
VIEWER = """<!DOCTYPE html><meta charset="utf-8"><body><script>
addEventListener("message", (event) => fetch("/", { method: "POST", body: event.data }));
for (const page of PAGES) {
  const frame = document.createElement("iframe");
  frame.sandbox = "allow-scripts";
  frame.src = URL.createObjectURL(new Blob([page], { type: "text/html" }));
  document.body.append(frame);
}
</script></body>"""

POINT = """<script>addEventListener("load", () => {
  const picture = document.querySelector("#learning_curves ~ figure .picture");
  const circle = picture.querySelector("circle"), box = picture.getBoundingClientRect();
  const at = (name, start, size) => start + circle.getAttribute(name) * size / 1000;
  picture.dispatchEvent(new PointerEvent("pointermove",
    { clientX: at("cx", box.left, box.width), clientY: at("cy", box.top, box.height) }));
  parent.postMessage(document.getElementById("tip").innerText, "*");
  parent.postMessage(document.querySelectorAll("a.file").length + " links", "*");
});</script>"""

SEARCH = """<script>addEventListener("load", () => {
  search.value = "unit 3"; order.value = "unit";
  order.dispatchEvent(new Event("input"));
  const shown = [...document.querySelectorAll(".card")].filter((card) => !card.hidden);
  parent.postMessage(found.textContent + ", " + shown[0].querySelector("h3").textContent, "*");
});</script>"""


@contextmanager
def _hosted(page: str) -> Iterator[tuple[str, list[str]]]:
    """The address of a page, and what it posts there."""
    said: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(page.encode())

        def do_POST(self) -> None:
            said.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self._answer(b"")

        def _answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", said
        finally:
            server.shutdown()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_pages_work_in_mlflows_viewer(
    start_after: StartAfter, paths: Paths, tmp_path: Path
) -> None:
    start_after("visualize")
    pages = [paths.report.read_text() + POINT, paths.dashboard.read_text() + SEARCH]
    host = VIEWER.replace("PAGES", json.dumps(pages).replace("</", "<\\/"))
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    # Any debugging port keeps the browser open.
    command += ["--remote-debugging-port=0"]
    with _hosted(host) as (address, said), started(*command, address, folder=tmp_path):
        wait_until(lambda: len(said) == 3, seconds=120)
    links, found, point = sorted(said)
    assert links == "0 links"
    assert found == "1 of 16 units, Unit 3"
    assert point.startswith("train, epoch 1: ")
