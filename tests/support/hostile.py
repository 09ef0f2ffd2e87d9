"""A corpus of broken files: each maker puts one below a folder; tables say what must become of it."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
from tiny_models import tones

RATE = 8000


def sound(path: Path, rate: int = RATE, channels: int = 1, seconds: float = 0.3, **kind: str) -> Path:
    """The same tones in any container."""
    wave = tones(seconds, rate).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.repeat(wave[:, None], channels, axis=1), rate, **kind)
    return path


def samples(path: Path, values: np.ndarray, rate: int = RATE) -> Path:
    soundfile.write(path, values.astype(np.float32), rate, subtype="FLOAT")
    return path


def with_value(path: Path, value: float) -> Path:
    wave = tones(0.3).numpy()
    wave[100] = value
    return samples(path, wave)


def wav_header(path: Path, rate: int = RATE, channels: int = 1, bits: int = 16, data: bytes = bytes(1600)) -> Path:
    """A PCM file with any figures in its header."""
    block = channels * bits // 8
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block % 2**32, block, bits)
    chunks = b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks)
    return path


def cut(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def flac_of_hours(path: Path) -> Path:
    """A FLAC file of 0.3 s whose header promises 2³⁶ − 1 samples, 256 GB of floats."""
    content = bytearray(sound(path).read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    return path


def put(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def fifo(path: Path) -> Path:
    os.mkfifo(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def link(path: Path, target: str) -> Path:
    path.symlink_to(target)
    return path


#: name → what makes the file, and words of the reason for which it is refused
BROKEN_AUDIO: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty.wav": (lambda path: put(path, b""), "cannot be"),
    "text.wav": (lambda path: put(path, b"no audio at all\n" * 100), "cannot be"),
    "page.flac": (lambda path: put(path, b"<!DOCTYPE html><title>404</title>"), "cannot be"),
    "zeros.ogg": (lambda path: put(path, bytes(5000)), "cannot be"),
    "magic only.wav": (lambda path: put(path, b"RIFF"), "cannot be"),
    "half a header.wav": (lambda path: cut(sound(path), 0.004), "cannot be"),
    "wrong header.wav": (lambda path: put(path, b"RIFX\0\0\0\0WAVE" + sound(path).read_bytes()[12:]), "cannot be"),
    "header only.wav": (lambda path: wav_header(path, data=b""), "sample"),
    "cut.wav": (lambda path: cut(sound(path)), "cut short"),
    "cut.aiff": (lambda path: cut(sound(path)), "cut short"),
    "cut.flac": (lambda path: cut(sound(path)), ""),
    "hours.flac": (flac_of_hours, ""),
    "no channels.wav": (lambda path: wav_header(path, channels=0), "cannot be"),
    "too many channels.wav": (lambda path: wav_header(path, channels=30000), "cannot be"),
    "rate 0.wav": (lambda path: wav_header(path, rate=0), ""),
    "rate 1.wav": (lambda path: wav_header(path, rate=1), "rate"),
    "rate 2 GHz.wav": (lambda path: wav_header(path, rate=2**31 - 1), "rate"),
    "nan.wav": (lambda path: with_value(path, np.nan), "finite"),
    "infinite.wav": (lambda path: with_value(path, -np.inf), "finite"),
    "enormous.wav": (lambda path: with_value(path, 3e38), ""),
    "folder.wav": (folder, ""),
    "pipe.wav": (fifo, ""),
    "endless.wav": (lambda path: link(path, "/dev/zero"), ""),
    "loop.wav": (lambda path: link(path, "loop.wav"), ""),
    "nowhere.wav": (lambda path: link(path, "absent.wav"), ""),
}

#: names and containers that are unusual, but all hold a sound recording
SOUND_AUDIO: dict[str, Callable[[Path], Path]] = {
    "13 bit.wav": lambda path: wav_header(path, bits=13),
    "one sample.wav": lambda path: samples(path, np.full(1, 0.5)),
    "8 bit.wav": lambda path: sound(path, subtype="PCM_U8"),
    "24 bit.wav": lambda path: sound(path, subtype="PCM_24"),
    "double.wav": lambda path: sound(path, subtype="DOUBLE"),
    "mu law.wav": lambda path: sound(path, subtype="ULAW"),
    "96 kHz.wav": lambda path: sound(path, 96000),
    "44101 Hz.wav": lambda path: sound(path, 44101),
    "six channels.wav": lambda path: sound(path, channels=6, format="WAVEX"),
    "streamed.wav": lambda path: streamed(path),
    "flac inside.wav": lambda path: sound(path.with_suffix(".flac")).rename(path),
    "silence.wav": lambda path: samples(path, np.zeros(RATE)),
    "loud.wav": lambda path: samples(path, 32768 * tones(0.3).numpy()),
    "ünï 音 🎵.wav": sound,
    "new\nline.wav": sound,
    "\x1b[31mred\t.wav": sound,
    "-o.wav": sound,
    "$x^{$ %s {0} <b>&amp;.wav": sound,
    os.fsdecode(b"latin\xfc.wav"): lambda path: sound(path.with_name("x.wav")).rename(path),
    "a" * 251 + ".wav": sound,
}


def streamed(path: Path) -> Path:
    """As writers leave it that did not know the length."""
    content = bytearray(sound(path).read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = b"\xff" * 4
    path.write_bytes(content)
    return path


def audio(folder: Path) -> Path:
    """All of both below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (make, _) in BROKEN_AUDIO.items():
        make(folder / name)
    for name, make in SOUND_AUDIO.items():
        make(folder / name)
    return folder


TS = "@problemName x\n@timeStamps false\n@univariate true\n@classLabel true a b\n@data\n"
WIDE = "t0,t1,t2,label\n" + "1,2,3,a\n4,5,6,b\n" * 4

#: name → content, and words of the reason; all are refused
BROKEN_SERIES: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", ""),
    "header only.csv": (b"t0,t1,label\n", "at least one row"),
    "nul.csv": (b"t0,t1,label\n1,2\x003,a\n4,5,b\n", ""),
    "longer rows.csv": (b"t0,t1,label\n1,2,3,a\n4,5,6,b\n", ""),
    "a longer row.csv": (b"t0,t1,label\n1,2,a\n4,5,6,b\n", ""),
    "open quote.csv": (b't0,t1,label\n1,2,"a\n4,5,b\n', ""),
    "latin.csv": ("t0,t1,label\n1,2,grün\n4,5,b\n".encode("latin-1"), ""),
    "wide characters.csv": ("t0,t1,label\n1,2,a\n4,5,b\n".encode("utf-16"), ""),
    "twice.csv": (b"t0,label,label\n1,2,a\n4,5,b\n", ""),
    "words.csv": (b"t0,t1,label\n1,two,a\n4,5,b\n", "must hold numbers"),
    "infinite.csv": (b"t0,t1,label\n1,inf,a\n4,5,b\n" * 1 + b"4,6,a\n4,5,b\n", ""),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ""),
    "empty.ts": (b"", ""),
    "header only.ts": (TS.encode(), ""),
    "no header.ts": (b"1,2,3:a\n4,5,6:b\n", ""),
    "wrong header.ts": (TS.replace("@univariate true", "@univariate maybe").encode() + b"1,2:a\n3,4:b\n", ""),
    "header after data.ts": (TS.encode() + b"1,2:a\n@problemName y\n3,4:b\n", ""),
    "words.ts": (TS.encode() + b"1,two:a\n3,4:b\n", ""),
    "infinite.ts": (TS.encode() + b"1,inf:a\n3,4:b\n", ""),
    "ragged.ts": (TS.replace("@univariate true", "@univariate false").encode() + b"1,2:3,4:a\n3,4:b\n", ""),
    "latin.ts": (TS.encode() + "1,2:grün\n3,4:b\n".encode("latin-1"), ""),
    "nul.ts": (TS.encode() + b"1,2\x00:a\n3,4:b\n", ""),
    "picture.ts": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ""),
    "empty.parquet": (b"", ""),
    "cut.parquet": (b"PAR1" + bytes(100), ""),
    "words.parquet": (b"t0,t1,label\n1,2,a\n", ""),
}
SOUND_SERIES: dict[str, bytes] = {
    "unknown header.ts": b"@nonsense 3\n" + TS.encode() + b"1,2:a\n3,4:b\n",
    "plain.csv": WIDE.encode(),
    "bom.csv": b"\xef\xbb\xbf" + WIDE.encode(),
    "windows.csv": WIDE.replace("\n", "\r\n").encode(),
    "dollars.csv": WIDE.replace("a\n", "$x^{$\n").encode(),
}


def bomb(depth: int = 40) -> str:
    """Ten references to ten references to …: 10⁴⁰ items."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, depth)]
    return "\n".join(lines)


#: name → text of a method's file, and words of the reason; all are refused
BROKEN_METHODS: dict[str, tuple[bytes, str]] = {
    "list.yaml": (b"- seed\n- 3\n", "must be a YAML mapping"),
    "word.yaml": (b"downsampler\n", "must be a YAML mapping"),
    "tabs.yaml": (b"strides:\n\t- 2\n", "is not valid YAML"),
    "open quote.yaml": (b"seed: 'three\n", "is not valid YAML"),
    "twice.yaml": (b"seed: 1\nseed: 2\n", "is not valid YAML"),
    "two documents.yaml": (b"seed: 1\n---\nseed: 2\n", "is not valid YAML"),
    "latin.yaml": ("downsampler: grün\n".encode("latin-1"), ""),
    "nul.yaml": (b"seed: 1\x00\n", "is not valid YAML"),
    "picture.yaml": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), ""),
    "unknown key.yaml": (b"sneed: 1\n", "is not a key of train.yaml; near matches: seed"),
    "number key.yaml": (b"3: 1\n", "is not a key of train.yaml"),
    "list key.yaml": (b"[seed, 3]: 1\n", "is not a key of train.yaml"),
    "unknown reference.yaml": (b"seed: !ref <nothing>\n", "nothing"),
    "circle.yaml": (b"seed: !ref <lr>\nlr: !ref <seed>\n", ""),
    "unknown tag.yaml": (b"seed: !now 3\n", ""),
    "unknown class.yaml": (b"number_of_epochs: !new:seqstride.Nothing\n", "Nothing"),
    "unknown module.yaml": (b"number_of_epochs: !new:nowhere.Nothing\n", "nowhere"),
    "wrong argument.yaml": (b"normalize: !new:seqstride.encoders.heads.FeatureNorm\n    depth: 3\n", "depth"),
    "no mapping.yaml": (b"train_dataloader: 3\n", "must be a mapping"),
    "word for a number.yaml": (b"number_of_epochs: many\n", ""),
    "minus.yaml": (b"batch_size: -3\n", ""),
    "unknown method.yaml": (b"downsampler: maximal\n", "maximal"),
    "deep.yaml": (b"seed: " + b"[" * 300 + b"]" * 300 + b"\n", ""),
    "bomb.yaml": (bomb().encode(), "aliases written out"),
    "hidden bomb.yaml": (
        b"downsampler_options:\n" + "\n".join(f"    {line}" for line in bomb().split("\n")).encode(),
        "",
    ),
    "mirror.yaml": (b"downsampler_options: &me\n    me: *me\n", ""),
}


def npy(path: Path, array: np.ndarray) -> Path:
    np.save(path, array, allow_pickle=True)
    return path


def promised(path: Path, shape: str) -> Path:
    """A few values whose header speaks of another shape."""
    content = npy(path, np.zeros((4, 5), np.float32)).read_bytes()
    old = b"(4, 5), }"
    return put(path, content.replace(old.ljust(40), f"({shape}), }}".encode().ljust(40)))


#: name → what makes the file, and words of the reason; for a model that reads 5 channels
BROKEN_FEATURES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "empty.npy": (lambda path: put(path, b""), "cannot be read"),
    "text.npy": (lambda path: put(path, b"no array\n"), "cannot be read"),
    "cut.npy": (lambda path: cut(npy(path, np.zeros((9, 5), np.float32)), 0.8), "cannot be read"),
    "terabytes.npy": (lambda path: promised(path, "2000000000, 5"), "cannot be read"),
    "archive.npy": (lambda path: put(path, b"PK\x05\x06" + bytes(18)), "cannot be read"),
    "objects.npy": (lambda path: npy(path, np.array([[print] * 5])), "cannot be read"),
    "words.npy": (lambda path: npy(path, np.full((3, 5), "a")), "real numbers"),
    "complex.npy": (lambda path: npy(path, np.zeros((3, 5), np.complex64)), "real numbers"),
    "one axis.npy": (lambda path: npy(path, np.zeros(5, np.float32)), "shape"),
    "no frames.npy": (lambda path: npy(path, np.zeros((0, 5), np.float32)), "cannot be read"),
    "four channels.npy": (lambda path: npy(path, np.zeros((3, 4), np.float32)), "must have shape (T, 5)"),
    "nan.npy": (lambda path: npy(path, np.full((3, 5), np.nan, np.float32)), "finite"),
    "too large.npy": (lambda path: npy(path, np.full((3, 5), 1e300)), "finite"),
    "folder.npy": (folder, ""),
    "pipe.npy": (fifo, "not a regular file"),
    "absent.npy": (lambda path: path, "no such file"),
}
SOUND_FEATURES: dict[str, Callable[[Path], Path]] = {
    "plain.npy": lambda path: npy(path, np.ones((30, 5), np.float32)),
    "whole numbers.npy": lambda path: npy(path, np.ones((30, 5), np.int16)),
    "by columns.npy": lambda path: npy(path, np.ones((30, 5), np.float64, order="F")),
    "other bytes.npy": lambda path: npy(path, np.ones((30, 5), ">f4")),
}

ROWS = "".join(f"{label}{index}.wav,{label}\n" for label in "ab" for index in range(3))

#: name → content of a table of recordings, and words of the reason; all are refused
BROKEN_TABLES: dict[str, tuple[bytes, str]] = {
    "empty.csv": (b"", "lacks path, label"),
    "header only.csv": (b"path,label\n", "at least 2 classes"),
    "nul.csv": (b"path,label\na0.wav\x00.wav,a\n", ""),
    "ragged.csv": (f"path,label\n{ROWS}a9.wav\n".encode(), "line 8"),
    "surplus.csv": (f"path,label\n{ROWS}a9.wav,a,b\n".encode(), "line 8"),
    "open quote.csv": (f'path,label\n"{ROWS}'.encode(), "line"),
    "endless cell.csv": (b"path,label\n" + b"a" * 200_000 + b",a\n", "field larger"),
    "latin.csv": ("path,label\nä.wav,a\n".encode("latin-1"), "UTF-8"),
    "wide characters.csv": ("path,label\na0.wav,a\n".encode("utf-16"), "UTF-8"),
    "labels twice.csv": (b"path,label,label\na0.wav,a,b\n", "must have different names for its columns"),
    "semicolons.csv": (b"path;label\na0.wav;a\n", "lacks path, label"),
    "up.csv": (b"path,label\n../a0.wav,a\n", "line 2: `path`"),
    "absolute.csv": (b"path,label\n/etc/passwd,a\n", "line 2: `path`"),
    "no label.csv": (b"path,label\na0.wav,\n", "line 2: `path` and `label`"),
    "twice.csv": (b"path,label\na0.wav,a\n./a0.wav,b\n", "line 3"),
    "picture.csv": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "UTF-8"),
}

#: name → content of a manifest, and words of the reason; all are refused
BROKEN_MANIFESTS: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "must be a SpeechBrain manifest"),
    "cut": (b'{"a": {"wav": "a', "must be a SpeechBrain manifest"),
    "list": (b"[1, 2]", "must be a SpeechBrain manifest"),
    "no items": (b"{}", "at least one item"),
    "latin": ('{"ä": {}}'.encode("latin-1"), "must be a SpeechBrain manifest"),
    "deep": (b'{"a":' * 100_000, "must be a SpeechBrain manifest"),
    "item of a number": (b'{"a": 3}', "must be a SpeechBrain manifest"),
    "unknown root": (
        b'{"a": {"features": "{other_root}/a.npy", "length": 3, "frame_rate": 9}}',
        "item 'a': '{other_root}",
    ),
    "no file": (b'{"a": {"length": 3, "frame_rate": 100, "label": "x"}}', "'a' must have the path"),
    "no length": (b'{"a": {"features": "{data_root}/a.npy", "label": "x"}}', "`length` is None"),
    "no time": (b'{"a": {"features": "a.npy", "length": 0, "frame_rate": 100, "label": "x"}}', "`length` is 0"),
    "word for a time": (b'{"a": {"features": "a.npy", "duration": "long", "label": "x"}}', "`duration`"),
    "no label": (b'{"a": {"features": "a.npy", "length": 3, "frame_rate": 9}}', "`labels`"),
    "number for a label": (b'{"a": {"features": "a.npy", "length": 3, "frame_rate": 9, "label": 7}}', "`labels`"),
    "list for a label": (b'{"a": {"features": "a.npy", "length": 3, "frame_rate": 9, "label": ["x"]}}', "`labels`"),
}
