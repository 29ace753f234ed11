"""Reads the six novels out of the Debian package as chapters of plain paragraphs.

The package holds an R lazy-load database: an index (`.rdx`, one gzip member) from variable name
to (offset, length), and a data file (`.rdb`) of chunks, each a big-endian length and a zlib
stream of R's serialization. `rdata` reads the serialization, so R itself is not needed.
"""

import gzip
import hashlib
import re
import struct
import subprocess
import warnings
import zlib
from pathlib import Path

import rdata

PACKAGE = "r-cran-janeaustenr"
VERSION = "1.0.0-1"
SHA256 = "df6bddf211906d1ff404f8ff662c21b34e6660e7f54a311084e749050c019c95"
DATA = "usr/lib/R/site-library/janeaustenr/data/Rdata"

HELD_OUT = "mansfieldpark"
HEADING = re.compile(r"\s*(chapter\s+([0-9]+|[ivxlc]+)\.?|volume\s+([0-9]+|[ivxlc]+)\.?)\s*", re.I)
ENDING = re.compile(r"\s*(the end|finis)\.?\s*", re.I)
# The transcriber's remark after Northanger Abbey, which is not the author's.
REMARK = re.compile(r"\s*a note on the text\s*", re.I)


def fetch(work: Path) -> Path:
    """Downloads and unpacks the package below `work`; needs apt, but no root."""
    archive = work / f"{PACKAGE}_{VERSION}_all.deb"
    if not archive.exists():
        subprocess.run(["apt-get", "download", f"{PACKAGE}={VERSION}"], cwd=work, check=True)
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        raise SystemExit(f"{archive}: sha256 is {found}, not {SHA256}\n\nhint: remove the file and run again")
    unpacked = work / "novels"
    subprocess.run(["dpkg-deb", "-x", archive, unpacked], check=True)
    return unpacked / DATA


def parse(serialized: bytes):
    with warnings.catch_warnings():
        # It says that it takes bytes without a magic number for R's serialization: they are.
        warnings.filterwarnings("ignore", message="Unknown file type")
        return rdata.conversion.convert(rdata.parser.parse_data(serialized))


def novels(data: Path) -> dict[str, list[str]]:
    """Novel name to its lines as published."""
    index = parse(gzip.decompress(data.with_suffix(".rdx").read_bytes()))["variables"]
    chunks = data.with_suffix(".rdb").read_bytes()
    lines = {}
    for name, (offset, length) in index.items():
        chunk = chunks[offset : offset + length]
        (size,) = struct.unpack(">I", chunk[:4])
        serialized = zlib.decompress(chunk[4:])
        if len(serialized) != size:
            raise SystemExit(f"{data}.rdb: {name} has {len(serialized)} bytes, its header says {size}")
        lines[str(name)] = [str(line) for line in parse(serialized)]
    return lines


def chapters(lines: list[str]) -> list[str]:
    """Chapters without their headings; front matter and end marks are left out.

    Hard-wrapped lines are joined; a blank line parts paragraphs. Underscores, which mark italics
    in the transcription, are dropped.
    """
    found: list[list[str]] = []
    paragraph: list[str] = []
    inside = False
    for line in [*lines, ""]:
        if HEADING.fullmatch(line):
            found.append([])
            inside = True
        elif REMARK.fullmatch(line) or ENDING.fullmatch(line):
            inside = False
        elif inside and line.strip():
            paragraph.append(line.replace("_", ""))
        elif paragraph:
            found[-1].append(" ".join(" ".join(paragraph).split()))
            paragraph = []
    # A volume's heading is followed at once by a chapter's: nothing lies between them.
    return ["\n\n".join(paragraphs) for paragraphs in found if paragraphs]
