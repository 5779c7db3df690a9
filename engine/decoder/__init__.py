"""Reading untrusted songs in a process of its own: what runs in it, and how it is started and ended.

`child` is that process; `song`, `declared` and `metadata` are its work, `sandbox` what it may not do. `process`,
`spare` and `samples` belong to the side that starts it. Callers use `engine.audio_io`.
"""
