"""The pages in a real browser, in the sandbox in which MLflow shows them."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from helpers import StartAfter
from rhobeta.paths import Paths

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")

# As MLflow's viewer: a blob in a frame that may run scripts and nothing else.
VIEWER = """<!DOCTYPE html><meta charset="utf-8"><body><script>
const show = (text) => { const line = document.createElement("p"); line.textContent = text;
  document.body.append(line); };
addEventListener("message", (event) => show("said: " + event.data));
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


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs Chromium")
def test_pages_work_in_mlflows_viewer(
    start_after: StartAfter, paths: Paths, tmp_path: Path
) -> None:
    start_after("visualize")
    pages = [paths.report.read_text() + POINT, paths.dashboard.read_text() + SEARCH]
    host = tmp_path / "viewer.html"
    host.write_text(VIEWER.replace("PAGES", json.dumps(pages).replace("</", "<\\/")))
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--disable-background-networking", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*map(str, command), "--virtual-time-budget=10000", host.as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    for said in ("train, epoch 1: ", "0 links", "1 of 16 units, Unit 3"):
        assert f"<p>said: {said}" in done.stdout
