"""Messages and tags without passwords and other secrets."""

import os
import re
from functools import cache
from urllib.parse import unquote

# What holds a secret, by the names of environment variables, parameters and settings.
_SENSITIVE = (
    r"PASSW|PASSPHRASE|(?<![A-Z])PASS(?![A-Z])|[_?&;]PWD?(?![A-Z])|SECRET|TOKEN|CREDENTIAL|SIGNATURE"
    r"|[?&;]SIG(?![A-Z])|(?:ACCESS|ACCOUNT|API|PRIVATE)[_-]?KEY"
)
_MIN_SECRET_LENGTH = 6
# Longer than any address and any name, so that no text takes long.
_MOST, _NAME = "{0,1000}", "{0,80}"

_SUBSTITUTIONS = tuple(
    (re.compile(pattern, re.IGNORECASE), instead)
    for pattern, instead in (
        # User and password of an address. One that is not percent-encoded may hold @ and /.
        (rf"//(?!USER:PASSWORD@)(?:[^/\s:]{_MOST}:\S{_MOST}|[^/\s]{_MOST})@", "//"),
        # It may hold blanks too. Digits there are a port.
        (
            rf"://(?!USER:PASSWORD@)[^/\s:@]{_MOST}:(?!\s|\d{{1,5}}(?:\W|$))(?:(?!://).){_MOST}"
            r"@(?=[\w.\[\]:-]+(?:[/'\"\s]|$))",
            "://",
        ),
        # One whose host is missing: what stands in the place of the port is no number.
        (
            rf"://([^/\s:@\[\]]{_MOST}):(?!\d{{1,5}}(?:\W|$)|PASSWORD@|PORT\b)\w[^/\s'\"]{_NAME}",
            r"://\1:***",
        ),
        # An address without its scheme.
        (rf"(?<![\w.+@-])(?!USER:PASSWORD@)[\w.+-]{_NAME}:[^\s@/:'\"]{_MOST}@(?=[\w\[])", "***@"),
        # Parameters of addresses, also as ODBC has them, percent-encoded.
        (rf"((?=[?&;])[^=\s]{_NAME}(?:{_SENSITIVE})[^=&;\s]{_NAME}=)[^&;\s'\"]*", r"\1***"),
        (r"((?:PWD|PASSWORD)%3D)(?:(?!%3B)[^\s&;'\"])*", r"\1***"),
        # Settings, as drivers and YAML print them: password=..., "password": "...".
        (
            rf"(?<![\w?&;])([\w.-]{_NAME}(?:{_SENSITIVE}|\bPWD(?==))[\w.-]{_NAME}['\"]?\s*[=:]\s*)"
            r"(?:'[^']+'|\"[^\"]+\"|[^\s,;&'\")}\]*]+)",
            r"\1***",
        ),
        (r"(Authorization['\"]?\s*[=:]\s*['\"]?(?:Basic|Bearer)\s+)[^\s'\"]+", r"\1***"),
    )
)

_remembered: set[str] = set()


def without_password(text: str) -> str:
    """Remove secrets from `text`, which may hold addresses; the result may be shown or stored.

    Removes user names and passwords of addresses, the values of parameters and settings with a
    secret's name, and these, where they have six or more characters: each value that the
    environment holds under such a name, and the passwords in its addresses and in those that
    `remember_address` was given.
    """
    for secret in sorted(_secrets_in_environment(), key=len, reverse=True):
        text = text.replace(secret, "***")
    for secret in sorted(_secrets_in_addresses(), key=len, reverse=True):
        # A password may be a part of another word, such as postgres.
        text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
    for pattern, instead in _SUBSTITUTIONS:
        text = pattern.sub(instead, text)
    return text


def message_of(error: BaseException) -> str:
    """The text of an error on one line, without secrets and the SQL statement that failed."""
    return without_password(" ".join(str(error).partition("[SQL:")[0].split()))


def remember_address(address: str) -> None:
    """Remove the password of this address from every text, also where it stands alone."""
    _remembered.add(address)


def _secrets_in_environment() -> set[str]:
    named = {value for name, value in os.environ.items() if re.search(f"(?i){_SENSITIVE}", name)}
    # A folder or file, such as PASSWORD_STORE_DIR, is none. Path.exists raises on a long name.
    return {
        value
        for value in named
        if len(value) >= _MIN_SECRET_LENGTH and not os.path.exists(value)  # noqa: PTH110
    }


def _secrets_in_addresses() -> set[str]:
    known = {value for value in os.environ.values() if "://" in value} | _remembered
    return {secret for address in known for secret in _secrets_of(address)}


@cache
def _secrets_of(address: str) -> frozenset[str]:
    found = re.findall(rf"(?i)[?&;][^=&;]*(?:{_SENSITIVE})[^=&;]*=([^&;]+)", address)
    given = re.match(r"[\w+.-]+://[^/:@]*:(.*)@", address)
    if given is not None:
        # Parsers cut a password that is not percent-encoded at these signs.
        found += [given[1], *re.split("[@/:?#]", given[1])]
    found += [unquote(secret) for secret in found]
    return frozenset(secret for secret in found if len(secret) >= _MIN_SECRET_LENGTH)
