"""Messages and tags without passwords and other secrets."""

import os
import re
from urllib.parse import unquote

# What holds a secret, by the names of environment variables and of an address's parameters.
_SENSITIVE = r"PASSW|PASSPHRASE|[_?&;]PWD|SECRET|TOKEN|CREDENTIAL|(?:ACCESS|API)_?KEY"
_MIN_SECRET_LENGTH = 6


def without_password(text: str) -> str:
    """Remove secrets from `text`, which may hold addresses; the result may be shown or stored.

    Removes user names and passwords of addresses, parameters of addresses with a secret's name, and
    every value of six or more characters that the environment holds under such a name or as the
    password in `MLFLOW_TRACKING_URI`.
    """
    for secret in sorted(_secrets_in_environment(), key=len, reverse=True):
        text = text.replace(secret, "***")
    # A password that is not percent-encoded may hold @ and /.
    text = re.sub(r"//(?:[^/\s:]*:\S*|[^/\s]*)@", "//", text)
    return re.sub(rf"(?i)((?=[?&;])[^=\s]*(?:{_SENSITIVE})[^=&;\s]*=)[^&;\s'\"]*", r"\1***", text)


def message_of(error: BaseException) -> str:
    """The text of an error on one line, without secrets and the SQL statement that failed."""
    return without_password(" ".join(str(error).partition("[SQL:")[0].split()))


def _secrets_in_environment() -> set[str]:
    found = {value for name, value in os.environ.items() if re.search(f"(?i){_SENSITIVE}", name)}
    given = re.search(r"//[^/:]*:(.*)@", os.environ.get("MLFLOW_TRACKING_URI", ""))
    if given is not None:
        # Parsers cut a password that is not percent-encoded at these signs.
        found |= {given[1], unquote(given[1]), *re.split("[@/:?#]", given[1])}
    return {secret for secret in found if len(secret) >= _MIN_SECRET_LENGTH}
