"""Whether a call failed because the MLflow server is unavailable."""

import re

from rhobeta.tracking.redaction import message_of

_KNOWN_REASONS = re.compile(
    r"Connection refused|timed out|Connection reset|Name or service not known|No route to host"
    r"|Remote end closed connection|too many 5\d\d error responses"
)


def is_unavailable(error: BaseException) -> bool:
    """Whether nothing answered, or the server or a store behind it was unable to (status 5xx).

    False for a refusal, which would be the same next time: an unknown run, an invalid value, wrong
    credentials. The causes of `error` count as well.
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:
        if _is_outage(cause):
            return True
        seen.append(cause)
        cause = cause.__cause__ or cause.__context__
    return False


def _is_outage(error: BaseException) -> bool:
    import requests
    from mlflow.exceptions import RestException
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, RestException):
        return int(error.get_http_status_code()) >= 500
    if isinstance(error, requests.HTTPError):
        return error.response is not None and error.response.status_code >= 500
    answer = getattr(error, "response", None)
    if isinstance(answer, dict):  # from an S3 store that runs write to directly
        return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500
    no_answer = (
        requests.ConnectionError,
        requests.Timeout,
        requests.exceptions.RetryError,
        requests.exceptions.ChunkedEncodingError,
        OperationalError,
        InterfaceError,
        ConnectionError,
        TimeoutError,
    )
    return isinstance(error, no_answer)


def reason_of(error: BaseException) -> str:
    """Why a call failed, in a few words without secrets."""
    text = message_of(error)
    known = _KNOWN_REASONS.search(text)
    return known[0] if known else text[:200]
