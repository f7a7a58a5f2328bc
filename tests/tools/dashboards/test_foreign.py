"""Which queries of a dashboard that is not ours find their series."""

from tools.dashboards.foreign import missing, queries_of, series_of

SCRAPE = """# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{model_name="m",engine="0"} 1
# TYPE vllm:waiting gauge
vllm:waiting{model_name="m",reason="capacity"} 0
# TYPE vllm:seconds histogram
vllm:seconds_bucket{le="1",model_name="m"} 1
vllm:seconds_bucket{le="+Inf",model_name="m"} 1
vllm:seconds_sum{model_name="m"} 1
vllm:seconds_count{model_name="m"} 1
"""


def test_queries_also_of_rows() -> None:
    inner = {"title": "b", "targets": [{"expr": "y"}, {"queryType": "logs"}]}
    dashboard = {"panels": [{"title": "a", "targets": [{"expr": "x"}]}, {"title": "row", "panels": [inner]}]}
    assert list(queries_of(dashboard)) == [("a", "x"), ("b", "y")]


def test_names_and_labels_are_looked_for() -> None:
    series = series_of(SCRAPE)
    found = (
        'vllm:num_requests_running{model_name=~"$model"}',
        'sum by (le) (rate(vllm:seconds_bucket{model_name="$model", le="1"}[$__rate_interval]))',
        "rate(vllm:seconds_sum[5m]) / rate(vllm:seconds_count[5m])",
        'count(up{job=~"$job"} == 0) or vector(0)',
        'vllm:waiting{reason="capacity"}',
    )
    assert [missing(expr, series) for expr in found] == [[]] * len(found)
    assert missing('vllm:waiting{reason="deferred"}', series) == ["vllm:waiting{reason=deferred}"]
    assert missing("rate(vllm:lost_total[5m]) / rate(vllm:seconds_sum[5m])", series) == ["vllm:lost_total{}"]
