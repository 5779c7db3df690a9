"""The parser of forms without what it brings along.

It can write to S3 as well, through smart_open, which loads boto3 wherever that is installed: half a second and 25 MB
for each process, and nobody here asks for it.
"""

from __future__ import annotations

import sys

_known = sys.modules.get("boto3")
sys.modules["boto3"] = None  # type: ignore[assignment]  # as if it were not installed
try:
    from streaming_form_data import ParseFailedException, StreamingFormDataParser
    from streaming_form_data.parser import UnexpectedPartException
    from streaming_form_data.targets import BaseTarget
finally:
    del sys.modules["boto3"]
    if _known is not None:
        sys.modules["boto3"] = _known

__all__ = ["BaseTarget", "ParseFailedException", "StreamingFormDataParser", "UnexpectedPartException"]
