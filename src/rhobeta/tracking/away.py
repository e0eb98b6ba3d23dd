"""Whether a call failed because the MLflow server is away, and calls that wait but a moment."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from rhobeta.tracking.environment import environment_kept

_MOMENT_SECONDS = 3


def is_away(error: BaseException) -> bool:
    """Whether nobody answered, or the server, or a store behind it, was not able to (status 5xx).

    False for a refusal, which would be the same next time: an unknown run, a value that MLflow does
    not take, credentials that do not hold.
    """
    return any(_says_away(cause) for cause in _chain(error))


def _says_away(error: BaseException) -> bool:
    import requests
    from mlflow.exceptions import RestException
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, RestException):
        return int(error.get_http_status_code()) >= 500
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # of an S3 store that runs write to themselves
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
    silent = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.RetryError,
        requests.exceptions.ChunkedEncodingError,
        OperationalError,
        InterfaceError,
        ConnectionError,
        TimeoutError,
    )
    return isinstance(error, silent)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


@contextmanager
def for_a_moment() -> Iterator[None]:
    """Let requests to the server fail after three seconds, and none be repeated."""
    patience = {
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": str(_MOMENT_SECONDS),
    }
    with environment_kept(patience):
        os.environ.update(patience)
        yield
