"""Header facts: what the first bytes of files say, read out in processes without privileges.

- `extractor`: what an extractor is, and what it may say;
- `source`: the bytes of one file, as an extractor sees them;
- `confinement`: what a worker process gives up before it sees the first byte;
- `worker`: the program of a worker process;
- `process`: the daemon's side of a worker process;
- `gathering`: which files are looked at, and when;
- `image`, `tiff`, `sound`, `array`, `safetensors`, `parquet`, `structured`: the extractors of
  tierfs.

The extractors are found by the entry points of the group ``tierfs.facts``; a package may bring
more. Only a worker process imports them.
"""
