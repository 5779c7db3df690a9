"""What formats exist, and what each makes of rates and bit rates that it doesn't have."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from engine.errors import OutputUnsupported
from engine.formats import BIT_DEPTHS, BIT_RATES, CONTAINERS, OutputFormat, make_format


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_has_a_usual_form(container: Any) -> None:
    usual = make_format(container)
    assert (usual.bit_depth is None) is (usual.bit_rate is not None) is (container not in BIT_DEPTHS)
    assert usual.lossless is (container in BIT_DEPTHS)
    assert usual.suffix == f".{container}" and usual.media_type.startswith("audio/")
    assert make_format(container, usual.bit_depth, usual.bit_rate) == usual


def test_the_plain_format_is_16_bit_wav() -> None:
    assert OutputFormat() == make_format("wav") == OutputFormat("wav", 16, None)


@pytest.mark.parametrize(
    ("container", "bit_depth", "bit_rate"),
    [
        ("aiff", None, None),
        ("wav", 8, None),
        ("wav", 16, 256),
        ("flac", "float", None),
        ("flac", None, 320),
        ("mp3", 16, None),
        ("mp3", None, 100),
        ("mp3", None, 321),
        ("ogg", 24, 256),
        ("m4a", "float", None),
    ],
)
def test_combinations_that_do_not_exist(container: Any, bit_depth: Any, bit_rate: Any) -> None:
    with pytest.raises(OutputUnsupported) as refused:
        make_format(container, bit_depth, bit_rate)
    assert refused.value.code == "output_unsupported" and str(refused.value).endswith(".")


def test_a_lossy_format_needs_a_bit_rate() -> None:
    with pytest.raises(OutputUnsupported):
        OutputFormat("mp3", None, None)


@pytest.mark.parametrize(
    ("container", "rate", "nearest"),
    [
        ("wav", 12_345, 12_345),
        ("wav", 768_000, 768_000),
        ("flac", 65_535, 65_535),
        ("flac", 65_538, 65_540),
        ("flac", 88_200, 88_200),
        ("flac", 768_000, 655_350),
        ("mp3", 4_000, 8_000),
        ("mp3", 44_100, 44_100),
        ("mp3", 88_200, 48_000),
        ("mp3", 192_000, 48_000),
        ("mp3", 38_050, 44_100),  # as near as 32,000
        ("m4a", 96_000, 96_000),
        ("m4a", 192_000, 96_000),
        ("m4a", 4_000, 7_350),
        ("ogg", 192_000, 192_000),
        ("ogg", 384_000, 200_000),
    ],
)
def test_nearest_rates(container: Any, rate: int, nearest: int) -> None:
    assert make_format(container).rate_for(rate) == nearest


@pytest.mark.parametrize("bit_rate", BIT_RATES)
def test_low_rates_have_low_bit_rates(bit_rate: int) -> None:
    mp3, m4a = make_format("mp3", bit_rate=bit_rate), make_format("m4a", bit_rate=bit_rate)
    assert mp3.bit_rate_for(44_100, 2) == bit_rate
    assert mp3.bit_rate_for(22_050, 2) == min(bit_rate, 160)
    assert mp3.bit_rate_for(8_000, 2) == 64
    assert m4a.bit_rate_for(44_100, 1) == min(bit_rate, 264)
    assert m4a.bit_rate_for(8_000, 1) == 48
    assert make_format("flac").bit_rate_for(44_100, 2) is None


def test_naming_formats_loads_no_codec() -> None:
    program = "import sys, engine.formats, engine.tags, engine.sink; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "engine.sink" in loaded
    assert not {"av", "soundfile", "soxr", "mutagen"} & set(loaded)
