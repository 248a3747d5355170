"""A checkpoint that a long query keeps from emptying the log gives up; nobody waits for it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.metadata.rows import add
from tierfs.metadata.index import Index

SOON = 2.0
"""Seconds, far below SQLite's patience with a busy database."""


@contextmanager
def long_query(index: Index) -> Iterator[None]:
    """Another connection that reads the database as it is now, as ``usage`` does."""
    with closing(sqlite3.connect(index.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM inode").fetchall()
        yield


def test_a_writer_does_not_wait_for_a_reader(index: Index) -> None:
    add(index, b"before")
    with long_query(index):
        add(index, b"unseen by the query")
        checkpoint = threading.Thread(target=index.checkpoint, args=(0,))
        started = time.monotonic()
        checkpoint.start()
        time.sleep(0.05)
        add(index, b"beside the checkpoint")
        assert time.monotonic() - started < SOON
        checkpoint.join()
        assert index.log_size() > 0


def test_a_log_at_its_limit_makes_no_writer_wait_for_a_reader(index: Index) -> None:
    add(index, b"before")
    with long_query(index):
        add(index, b"unseen by the query")
        index.limit_log(0)
        started = time.monotonic()
        add(index, b"at the limit")
        assert time.monotonic() - started < SOON


def test_the_log_is_emptied_when_the_reader_is_gone(index: Index) -> None:
    with long_query(index):
        add(index, b"beside the query")
        index.checkpoint(0)
    index.checkpoint(0)
    assert index.log_size() == 0
