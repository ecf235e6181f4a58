"""The suffixes of recordings."""

from __future__ import annotations

LIBSNDFILE_SUFFIXES = frozenset(
    ".aif .aifc .aiff .au .bwf .caf .flac .mp1 .mp2 .mp3 .mpga .nist .oga .ogg .opus .rf64 .snd "
    ".sph .voc .w64 .wav .wave".split()
)
"""What libsndfile reads, which every installation has."""

PYAV_SUFFIXES = frozenset(
    ".3g2 .3gp .aac .ac3 .amr .ape .avi .dsf .m4a .m4b .mka .mkv .mov .mp4 .oma .spx .tta .webm "
    ".wma .wv".split()
)
"""What PyAV reads beside it (extra `av`); found without it as well, so that it is reported."""

SUFFIXES = LIBSNDFILE_SUFFIXES | PYAV_SUFFIXES
"""By which a file in a folder counts as a recording, in lower case."""
