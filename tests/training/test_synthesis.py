from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from training.recipes import RECIPES
from training.synthesis import accompaniment, effects, midi, parts, programs, solos, synths
from training.synthesis.formants import babble
from training.synthesis.instruments import SOLOISTS, _string
from training.synthesis.melody import MAJOR, Song, scale, tune
from training.synthesis.mixdown import LEVELS, Stem, mixdown
from training.synthesis.sound import LENGTH, LEVEL, RATE, Mono, Random, add_at, fitted, hertz, levelled, rms
from training.synthesis.vocals import CHOIR_PROGRAMS
from training.synthesis.words import OTHERS, line

VOICES_OF_GENERAL_MIDI = {52, 53, 54, 85, 91}


def fresh(seed: int = 0) -> Random:
    return np.random.default_rng(seed)


def main_hertz(sound: Mono) -> float:
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    return float(np.argmax(spectrum) * RATE / len(sound))


@pytest.mark.parametrize("soloist", SOLOISTS, ids=lambda each: str(each.__name__))
def test_soloists_play_the_same_by_the_same_seed(soloist: object) -> None:
    assert callable(soloist)
    one, other = soloist(Song(fresh(3))), soloist(Song(fresh(3)))
    np.testing.assert_array_equal(one, other)
    assert one.shape == (LENGTH,)
    assert np.isfinite(one).all()
    assert rms(one) > 1e-3


@pytest.mark.parametrize("kind", ["pad", "pluck", "stab", "bass"])
def test_synthesisers_sound(kind: str) -> None:
    stem = synths.synth_stem(Song(fresh(1)), kind)
    assert stem.shape == (LENGTH,)
    assert np.isfinite(stem).all()
    assert rms(stem) > 1e-3


def test_an_electronic_song_without_any_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(midi, "render", lambda tracks, random, folder: [np.zeros((2, LENGTH))] * len(tracks))
    clip = accompaniment.electronic(fresh(5), tmp_path)
    assert clip.shape == (2, LENGTH)
    assert np.abs(clip).max() <= 0.99
    assert rms(clip) == pytest.approx(LEVEL, rel=0.2)
    np.testing.assert_array_equal(clip, accompaniment.electronic(fresh(5), tmp_path))


@pytest.mark.parametrize("note", [40, 52, 64, 76])
def test_strings_are_in_tune(note: int) -> None:
    pitch = float(hertz(note))
    spectrum = np.abs(np.fft.rfft(_string(fresh(), pitch, 0.998, 0.9)[: RATE // 2] * np.hanning(RATE // 2)))
    for number in (1, 2, 3):
        near = np.arange(int(2 * 0.94 * pitch * number) // 4, int(2 * 1.06 * pitch * number) // 4 + 2)
        found = near[np.argmax(spectrum[near])] * 2
        assert abs(12 * np.log2(found / (pitch * number))) < 0.8


def test_a_saw_has_its_pitch_and_hardly_aliases() -> None:
    wave = synths.saw(np.full(RATE, 1234.0), 0.0)
    assert main_hertz(wave) == pytest.approx(1234, abs=2)
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave))))
    below = spectrum[:1200].max()
    assert 20 * np.log10(below / spectrum.max()) < -35


def test_no_accompaniment_has_a_voice_of_general_midi() -> None:
    used = {program for family in (*solos.LEADS, solos.PLUCKED, solos.KEYED, solos.ENSEMBLES) for program in family}
    used |= {program for family in parts.FAMILIES.values() for program in family} | set(parts.BASSES)
    assert not used & VOICES_OF_GENERAL_MIDI
    assert set(CHOIR_PROGRAMS) <= VOICES_OF_GENERAL_MIDI


def test_every_part_stays_in_range() -> None:
    for seed in range(4):
        song = Song(fresh(seed))
        made = [parts.drums(song), parts.bass(song), parts.harmony(song), solos.lead(song), solos.riff(song)]
        for track in [*made, *solos.ballad(song), *solos.chamber(song), *solos.passage(song)]:
            assert len(track.events) > 10
            for seconds, event in track.events:
                assert 0 <= seconds <= 24
                assert event[0] >= 0x80
                assert all(value < 0x80 for value in event[1:])


def test_a_midi_file_is_well_formed() -> None:
    track = midi.Track(program=40)
    track.note(0.5, 1.0, 60, 200)
    track.note(30.0, 1.0, 60, 100)
    track.bend(0.7, -24)
    content = midi._file(track.events)
    assert content[:4] == b"MThd"
    assert struct.unpack(">I", content[18:22])[0] == len(content) - 22
    assert content.endswith(b"\x00\xff\x2f\x00")
    assert content.count(bytes([0x90, 60])) == 1
    assert bytes([0xE0, 0, 0]) in content
    assert midi._length(200) == b"\x81\x48"


def test_babble_is_voice_and_consonants() -> None:
    spoken = babble(fresh(2))
    frames = len(spoken.pitch)
    assert spoken.envelope.shape == spoken.aperiodicity.shape == (frames, 513)
    assert set(np.unique(spoken.pitch)) == {0.0, 150.0}
    assert (spoken.envelope > 0).all()
    assert spoken.aperiodicity.max() < 1 + 1e-9


def test_tunes_stay_on_their_notes() -> None:
    for seed in range(5):
        notes = scale(fresh(seed), 2, 50, 70)
        assert all((note - 2) % 12 in MAJOR for note in notes)
        assert set(tune(fresh(seed), notes, 200)) <= set(notes)


def test_lines_are_of_their_language() -> None:
    assert len(line(fresh(), "en-us", 9).split()) == 9
    assert set(line(fresh(), "ja", 9).split()) <= set(OTHERS["ja"].split())


def test_effects_keep_length_and_sense() -> None:
    sound = fresh().normal(0, 0.1, (2, RATE))
    for treated in (
        effects.equalise(sound, fresh(1)),
        effects.compress(sound, fresh(1)),
        effects.saturate(sound, 3),
        effects.reverb(sound, fresh(1), 0.3),
        effects.echo(sound, 0.2, 0.5, crossing=True),
        effects.chorus(sound, fresh(1)),
        effects.widen(sound, fresh(1)),
    ):
        assert treated.shape == sound.shape
        assert np.isfinite(treated).all()
    tone = np.sin(2 * np.pi * 100 * np.arange(RATE) / RATE)
    assert rms(effects.high_pass(tone, 2000)) < 0.01
    assert rms(effects.low_pass(tone, 2000)) == pytest.approx(rms(tone), rel=0.02)
    for place in (-1.0, -0.3, 0.0, 1.0):
        assert rms(effects.pan(tone, place)) == pytest.approx(rms(tone), rel=1e-6)


def test_mixes_have_one_level() -> None:
    stems = [Stem(kind, fresh(number).normal(0, 0.1, (2, LENGTH))) for number, kind in enumerate(LEVELS)]
    mixed = mixdown(fresh(9), stems)
    assert rms(mixed) == pytest.approx(LEVEL, rel=0.05)
    assert rms(levelled(np.zeros((2, 10)))) < 1e-5


def test_sounds_are_added_where_they_reach() -> None:
    track = np.zeros(10)
    add_at(track, 8, np.ones(5))
    add_at(track, 20, np.ones(5))
    assert track.tolist() == [0] * 8 + [1, 1]
    assert fitted(np.ones((2, 3)), 5).tolist() == [[1, 1, 1, 0, 0]] * 2


def test_what_is_missing_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda program: None)
    monkeypatch.setattr(programs, "FONT_FOLDER", tmp_path)
    monkeypatch.setattr(programs, "VOICE_FOLDER", tmp_path)
    with pytest.raises(
        programs.ProgramMissing, match="apt-get install espeak-ng flite festival fluidsynth fluid-sound"
    ):
        programs.check()


def test_recipes_do_not_share_their_randomness() -> None:
    numbers = [recipe.number for recipe in RECIPES.values()]
    assert len(set(numbers)) == len(numbers)
    assert {recipe.side for recipe in RECIPES.values()} == {"voice", "band"}
