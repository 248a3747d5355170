"""Sound, by libsndfile: WAV, FLAC, AIFF, AU, CAF and Ogg."""

from __future__ import annotations

from typing import Final

import soundfile

from tierfs.facts.extractor import Extractor, Found, NotReadable
from tierfs.facts.source import Source

_STARTS: Final = (b"fLaC", b"OggS", b".snd", b"caff", b"RF64")
_CONTAINERS: Final = frozenset({(b"RIFF", b"WAVE"), (b"FORM", b"AIFF"), (b"FORM", b"AIFC")})

KEYS: Final = {
    "audio.format": "WAV, FLAC, AIFF and so on, as libsndfile calls it",
    "audio.encoding": "PCM_16, FLOAT, VORBIS and so on",
    "audio.rate": "samples of a channel in a second",
    "audio.channels": "channels",
    "audio.frames": "samples of a channel",
    "audio.duration": "seconds",
}


def recognises(head: bytes) -> bool:
    """Whether these are the first bytes of sound."""
    return head.startswith(_STARTS) or (head[:4], head[8:12]) in _CONTAINERS


def extract(source: Source) -> Found:
    """The facts.

    Raises:
        NotReadable: the header is wrong.
    """
    try:
        with soundfile.SoundFile(source.file()) as file:
            known = 0 < file.frames < 1 << 62 and file.samplerate > 0
            return {
                "audio.format": file.format,
                "audio.encoding": file.subtype,
                "audio.rate": file.samplerate,
                "audio.channels": file.channels,
                "audio.frames": file.frames if known else None,
                "audio.duration": file.frames / file.samplerate if known else None,
            }
    except soundfile.LibsndfileError as error:
        raise NotReadable(error.error_string) from error


EXTRACTOR: Final = Extractor("sound", 1, KEYS, recognises, extract)
