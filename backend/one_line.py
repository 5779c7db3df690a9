"""Text that people see in one line, as a name: what would break the line or turn it around is refused."""

from __future__ import annotations

import re

TURNING = r"\u202a-\u202e\u2066-\u2069"
"""Characters that change the direction of what follows: `gpj.exe` behind one reads as `exe.jpg`."""
ONE_LINE = rf"^[^\x00-\x1f\x7f{TURNING}]*$"
"""Pattern for a field; tools that read the document understand it as well."""
turns = re.compile(f"[{TURNING}]").search
