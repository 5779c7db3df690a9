"""Songs that nobody has to be asked for: voices and accompaniments made here, clip by clip, each from its number.

Sound is float64 at 22.05 kHz: `Mono` (samples,) and `Stereo` (2, samples). Whatever is random comes from the
`Random` that is handed in, so that the same seed gives the same clip.
"""
