"""docs/api.md and README's section on Python: their code runs as it stands."""

import re
from pathlib import Path

import pytest

from helpers import REPOSITORY

_BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", [pytest.param("docs/api.md", marks=pytest.mark.slow), "README.md"])
def test_python_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {}
    blocks = _BLOCK.findall((REPOSITORY / page).read_text())
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), names)
    if page == "docs/api.md":
        assert names["found"].dead == 0
        assert (tmp_path / "components.png").stat().st_size > 10_000
