"""The last guard of the log: what looks like a secret is struck out of every line, tracebacks too.

Our own code writes none. Libraries that are asked for details, and texts of exceptions, may.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

STRUCK = "[redacted]"

_NAMES = (
    r"(?:access_|refresh_|id_|mail_)?token|ticket|signature|(?:current_|new_)?password|passwd|secret"
    r"|invitation|api_?key"
)

_SECRET_NAME = re.compile(rf"(?:{_NAMES}|authorization)", re.IGNORECASE)

_PATTERNS = [
    # A JSON web token, in part too.
    (re.compile(r"\beyJ[\w-]{8,}(?:\.[\w-]*){0,2}"), STRUCK),
    # API keys keep the public part that finds their row; refresh tokens and webhook secrets have none.
    (re.compile(r"\b(vrk_[0-9a-f]{12})_[\w-]+"), rf"\1_{STRUCK}"),
    (re.compile(r"\bvrr_[0-9a-f]{8,}[\w.-]*"), STRUCK),
    (re.compile(r"\bwhsec_[\w+/=-]+"), STRUCK),
    # Tokens of letters: whose, until when, signature.
    (re.compile(r"\b[0-9a-f]{32}\.\d{1,20}\.[0-9a-f]{64}\b"), STRUCK),
    (re.compile(r"\$argon2\w*\$[^\s'\",)]+"), STRUCK),
    # The header, as a line and as the pair of names and values of a library.
    (
        re.compile(r"(?i)(\bauthorization\b['\"]?\s*[:=,]\s*b?['\"]?(?:(?:bearer|basic|key)\s+)?)[^\s'\",)\]}]+"),
        rf"\1{STRUCK}",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), rf"\1{STRUCK}"),
    # name=value of an address or a form, and "name": "value" of JSON and of Python.
    (re.compile(rf"(?i)\b({_NAMES})=(?!{re.escape(STRUCK)})[^\s&'\"<>,)\]}}]+"), rf"\1={STRUCK}"),
    (re.compile(rf"(?i)(['\"](?:{_NAMES})['\"]\s*:\s*)(?:\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*')"), rf"\1'{STRUCK}'"),
    # The password of an address: scheme://user:password@host
    (re.compile(r"\b([a-z][a-z0-9+.-]*://[^\s:/@]*):[^\s/@]+@", re.IGNORECASE), rf"\1:{STRUCK}@"),
]


# Each pattern needs one of these; to look for them costs a tenth of trying them all.
_SIGNS = (
    *("eyj", "vrk_", "vrr_", "whsec_", "$argon2", "authorization", "bearer", "://"),
    *("token", "ticket", "signature", "passw", "secret", "invitation", "apikey", "api_key"),
)
_LETTER_SIGN = re.compile(r"[0-9a-f]{32}\.")


def redact(text: str) -> str:
    lower = text.lower()
    if not any(sign in lower for sign in _SIGNS) and not _LETTER_SIGN.search(text):
        return text
    for pattern, instead in _PATTERNS:
        text = pattern.sub(instead, text)
    return text


def redact_values(value: Any) -> Any:
    """The same for what becomes JSON: before quotes in it are escaped, which would hide secrets from `redact`."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {
            str(key): STRUCK if _SECRET_NAME.fullmatch(str(key)) else redact_values(each) for key, each in value.items()
        }
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_values(each) for each in value]
    return value if value is None or isinstance(value, bool | int | float) else redact(str(value))


class RedactingFormatter(logging.Formatter):
    """Works on the finished text: message, arguments, traceback and stack are all in it."""

    def format(self, record: logging.LogRecord) -> str:
        return redact(super().format(record))
