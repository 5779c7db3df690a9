"""The programs and sound fonts that synthesis needs, and what to install where they are missing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from training.synthesis import spoken

PACKAGES = {
    "espeak-ng": "espeak-ng",
    "flite": "flite",
    "text2wave": "festival",
    "fluidsynth": "fluidsynth",
}
"""Program → its package in Debian and Ubuntu."""
FONTS = {
    "sf2/FluidR3_GM.sf2": "fluid-soundfont-gm",
    "sf2/TimGM6mb.sf2": "timgm6mb-soundfont",
    "sf3/MuseScore_General_Lite.sf3": "musescore-general-soundfont-small",
}
FONT_FOLDER = Path("/usr/share/sounds")
FESTIVAL_VOICES = {
    "voice_kal_diphone": ("en", "festvox-kallpc16k"),
    "voice_ked_diphone": ("en", "festvox-kdlpc16k"),
    "voice_cmu_us_slt_arctic_hts": ("en", "festvox-us-slt-hts"),
    "voice_lp_diphone": ("it", "festvox-italp16k"),
    "voice_pc_diphone": ("it", "festvox-itapc16k"),
    "voice_suo_fi_lj_diphone": ("fi", "festvox-suopuhe-lj"),
    "voice_hy_fi_mv_diphone": ("fi", "festvox-suopuhe-mv"),
    "voice_upc_ca_ona_hts": ("ca", "festvox-ca-ona-hts"),
}
"""Festival's voice → (language, package)."""
VOICE_FOLDER = Path("/usr/share/festival/voices")


class ProgramMissing(Exception):
    """Something that synthesis needs is not installed; the message says what to install."""


class ProgramFailed(Exception):
    """A program ended with an error, or took too long."""


def missing_packages() -> list[str]:
    packages = [package for program, package in PACKAGES.items() if shutil.which(program) is None]
    packages += [package for font, package in FONTS.items() if not (FONT_FOLDER / font).exists()]
    there = {path.name for path in VOICE_FOLDER.glob("*/*")}
    packages += [
        package for voice, (_, package) in FESTIVAL_VOICES.items() if voice.removeprefix("voice_") not in there
    ]
    return packages + spoken.missing()


def check() -> None:
    """Raises ProgramMissing with all that is missing, in one sentence."""
    if packages := missing_packages():
        raise ProgramMissing(f"Synthesis needs what is not installed here: apt-get install {' '.join(packages)}")


def run(command: Sequence[str | Path], seconds: float = 60) -> None:
    """Raises ProgramFailed."""
    try:
        subprocess.run(command, check=True, timeout=seconds, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise ProgramFailed(f"{command[0]}: {error}") from error
