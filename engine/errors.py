"""What can go wrong in the engine, as classes whose names read as sentences.

Each class carries a stable `code` (kept in task rows and shown by the API), a sentence for people
(the exception's text) and `advice`: what to do next. `transient` failures are worth another attempt
with the same input; all others would fail the same way again.
"""

from __future__ import annotations

from typing import ClassVar


class EngineError(Exception):
    code: ClassVar[str] = "engine_error"
    advice: ClassVar[str] = "Try again; if it happens again, report it with the task's id."
    transient: ClassVar[bool] = False


class AudioUndecodable(EngineError):
    """The bytes are not audio that we read: not audio at all, a playlist, or damaged beyond use."""

    code = "audio_undecodable"
    advice = "Send a mp3, wav, flac, ogg, m4a/aac, opus or aiff file that plays in a music player."


class AudioEmpty(EngineError):
    """The file holds no byte, or its audio holds no sample."""

    code = "audio_empty"
    advice = "Check the file: it has no sound in it. Export or download it again."


class AudioTooLong(EngineError):
    code = "audio_too_long"
    advice = "Cut the song into shorter pieces, or ask the operator for a higher limit."


class AudioHostile(EngineError):
    """Decoding took more time, memory or output than any honest file needs."""

    code = "audio_hostile"
    advice = "Re-encode the file with a common tool and send that copy."


class DecoderCrashed(EngineError):
    """The decoder child died of a signal. Counted by attempts: a poison file fails in the end."""

    code = "decoder_crashed"
    advice = "Re-encode the file with a common tool and send that copy."
    transient = True


class UnknownModel(EngineError):
    code = "unknown_model"
    advice = "GET /api/v1/models lists the models that this service has."


class WeightsUnavailable(EngineError):
    """The weights are not in the cache and could not be fetched."""

    code = "weights_unavailable"
    advice = "Use the model `lite`, or ask the operator to run `vocal-remover models pull`."


class WeightsCorrupt(EngineError):
    """The weights are there, or arrived, and are not what the catalogue says they must be."""

    code = "weights_corrupt"
    advice = "Ask the operator to delete the cached weights and run `vocal-remover models pull` again."


class RuntimeUnavailable(EngineError):
    """A runtime that was asked for by name is not installed on this machine."""

    code = "runtime_unavailable"
    advice = "Install that runtime, or set the runtime to `auto`."


class SeparationCancelled(EngineError):
    """The caller's `cancelled()` answered True; everything half made has been removed."""

    code = "cancelled"
    advice = "Submit the song again when you want its stems."
