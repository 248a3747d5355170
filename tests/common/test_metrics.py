from __future__ import annotations

import re

from tierfs.common.metrics import LATENCY_BUCKETS, TABLE, Metrics

UNITS = ("_bytes", "_seconds")
COUNTED_HERE = [row for row in TABLE if not row.name.startswith("fast_path_")]
"""The other rows the fast path counts by itself."""


def exported(metrics: Metrics) -> set[str]:
    return {family.name for family in metrics.registry.collect()}


def test_every_row_of_the_table_is_exported_and_nothing_else() -> None:
    assert exported(Metrics()) == {f"tierfs_{row.name}" for row in TABLE}


def test_every_row_is_an_attribute_of_its_name_and_type() -> None:
    types = {"counter": "HotCounter", "gauge": "Gauge", "histogram": "Histogram"}
    assert Metrics.__annotations__ == {row.name: types[row.kind] for row in COUNTED_HERE}
    assert {row.name for row in TABLE} == set(vars(Metrics())) - {"registry"}


def test_rows_have_names_of_the_convention_and_a_help() -> None:
    for row in TABLE:
        assert re.fullmatch(r"[a-z]+(_[a-z]+)*", row.name)
        assert re.fullmatch(r"[A-Z].*\.", row.help)
        assert row.kind != "histogram" or row.name.endswith(UNITS)


def test_labels_are_those_of_the_table() -> None:
    metrics = Metrics()
    for row in COUNTED_HERE:
        assert getattr(metrics, row.name)._labelnames == row.labels


def test_two_daemons_in_one_process_do_not_share_numbers() -> None:
    one, other = Metrics(), Metrics()
    one.read_bytes.labels("flash").inc(5)
    assert one.registry.get_sample_value("tierfs_read_bytes_total", {"tier": "flash"}) == 5
    assert other.registry.get_sample_value("tierfs_read_bytes_total", {"tier": "flash"}) is None


def test_buckets_rise() -> None:
    assert list(LATENCY_BUCKETS) == sorted(set(LATENCY_BUCKETS))


def test_a_counter_can_follow_who_counts_by_itself() -> None:
    metrics, counted = Metrics(), [3]
    metrics.index_transactions.labels("commit").follow(lambda: counted[0])
    name, labels = "tierfs_index_transactions_total", {"result": "commit"}
    assert metrics.registry.get_sample_value(name, labels) == 3
    counted[0] = 5
    assert metrics.registry.get_sample_value(name, labels) == 5
    assert metrics.index_transactions.labels("commit").count() == 5
