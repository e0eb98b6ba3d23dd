"""Addresses of files follow the project, and a server's lead to no file of this machine."""

from pathlib import Path

import pytest

from rhobeta.errors import RhobetaError
from rhobeta.tracking.addresses import relocated, require_remote


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("file:///old/p/mlruns/artifacts", "file:///new%20place/mlruns/artifacts"),
        ("file:///old/p/mlruns/artifacts/1%2B/a%20b", "file:///new%20place/mlruns/artifacts/1%2B/a%20b"),
        ("/old/p/mlruns/artifacts/1", "/new place/mlruns/artifacts/1"),
        ("/mlruns/old/mlruns/3/1/artifacts", "/new place/mlruns/3/1/artifacts"),
        # What is not a path below a folder mlruns stays.
        ("/new place/mlruns/artifacts/1", "/new place/mlruns/artifacts/1"),
        ("file:///large/disk/1", "file:///large/disk/1"),
        ("mlruns/artifacts", "mlruns/artifacts"),
        ("s3://bucket/mlruns/artifacts/1", "s3://bucket/mlruns/artifacts/1"),
        ("mlflow-artifacts:/mlruns/artifacts/1", "mlflow-artifacts:/mlruns/artifacts/1"),
        ("models:/m-1", "models:/m-1"),
    ],
)  # fmt: skip
def test_relocated_address(address: str, expected: str) -> None:
    assert relocated(address, Path("/new place/mlruns")) == expected


def test_relocated_address_of_another_place_that_is_there(tmp_path: Path) -> None:
    mlruns, other = tmp_path / "here" / "mlruns", tmp_path / "there" / "mlruns"
    (other / "3").mkdir(parents=True)
    (other / "artifacts").mkdir()
    # Brought in from elsewhere: its files are there alone.
    assert relocated(str(other / "3"), mlruns) == str(other / "3")
    # The project's own: a copy would write into the original.
    assert relocated(str(other / "artifacts"), mlruns) == str(mlruns / "artifacts")
    (mlruns / "3").mkdir(parents=True)
    assert relocated(str(other / "3"), mlruns) == str(mlruns / "3")


@pytest.mark.parametrize(
    "address",
    ["file:///home/me", "FILE:///home/me", " file:/home/me", "file://host/share", "/home/me", "me",
     "../me", "", "C:/../me", "c:\\me", "models:/name/1", "runs:/1/model"],
)  # fmt: skip
def test_address_of_a_file_from_a_server_is_refused(address: str) -> None:
    with pytest.raises(RhobetaError, match="a path on this machine"):
        require_remote(address, "http://server")


def test_address_of_an_object_from_a_server() -> None:
    for address in ("mlflow-artifacts:/1", "s3://bucket/1", "https://server/api/1"):
        require_remote(address, "http://server")
