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


class InferenceServerUnavailable(RuntimeUnavailable):
    """The inference server does not answer, or is too busy, also after several attempts."""

    code = "inference_server_unavailable"
    advice = "Wait a moment; if it stays so, ask the operator whether the inference server runs."
    transient = True


class InferenceServerWrong(EngineError):
    """The inference server answers, but not as this model's graph would: another model, or another protocol."""

    code = "inference_server_wrong"
    advice = "Ask the operator to export the models again into the inference server's repository."


class BatcherClosed(EngineError):
    """The model was let go while this run was waiting for its turn."""

    code = "batcher_closed"
    advice = "Submit the song again: its worker was stopping."
    transient = True


class PatchCorrupt(EngineError):
    """A patch that was kept is cut, damaged, or not of this song and model; it has to be separated again."""

    code = "patch_corrupt"
    advice = "Nothing: what is damaged is made again. If it happens often, the storage's disk may be failing."
    transient = True


class SeparationCancelled(EngineError):
    """The caller's `cancelled()` answered True; everything half made has been removed."""

    code = "cancelled"
    advice = "Submit the song again when you want its stems."


class OutputUnsupported(EngineError):
    """No stem can be written like that: an unknown format, or a bit depth or bit rate that it doesn't have."""

    code = "output_unsupported"
    advice = "Choose wav (16, 24 or float), flac (16 or 24), mp3, ogg or m4a (128 to 320 kbit/s)."
