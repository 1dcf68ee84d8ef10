"""
The alerts of the operations guide, which are those of the chart, evaluated by
Prometheus' own C{promtool}.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

ROOT = Path(__file__).parents[2]

#: The figures of a producer and a consumer with nothing to complain of.
HEALTHY = {
    **{f"eventsvc_{name}_total": "0x20" for name in ("lost", "groups_recreated", "trimmed_pending")},
    'eventsvc_events_refused_total{reason="queue_full",stream="Orders"}': "0x20",
    'eventsvc_idempotency_keys{stream="Orders"}': "800000x20",
    "eventsvc_tokens_stale": "0x20",
    "eventsvc_tls_reload_failures_total": "0x20",
    "eventsvc_tls_certificate_expires_seconds": "700000x20",
    "eventsvc_dead_letters": "0x20",
    "eventsvc_oldest_unread_seconds": "1x20",
    "eventsvc_oldest_pending_seconds": "1x20",
    "eventsvc_queue_events": "0x20",
    "eventsvc_consumer_ready": "1x20",
    "eventsvc_consumer_name_in_use": "0x20",
    "eventsvc_handler_failing": "0x20",
    "eventsvc_webhook_gone": "0x20",
    'eventsvc_redis_connected{role="consumer"}': "1x20",
}


GUIDE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def documented_rules() -> str:
    """Return the rules of the guide, as the text of a file for Prometheus."""
    (rules,) = re.findall(r"```yaml\n(groups:\n.*?)```", GUIDE, re.S)
    return str(rules)


def firing(directory: Path, figures: Mapping[str, str]) -> set[str]:
    """Return the alerts that fire after ten minutes of these metrics, scraped once a minute."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("there is no promtool on the PATH: apt-get install prometheus, or a release of Prometheus")
    rules = documented_rules()
    (directory / "rules.yaml").write_text(rules)
    series = [{"series": name, "values": values} for name, values in figures.items()]
    none = [
        {"eval_time": "10m", "alertname": rule["alert"], "exp_alerts": []}
        for rule in yaml.safe_load(rules)["groups"][0]["rules"]
    ]
    test = {"interval": "1m", "input_series": series, "alert_rule_test": none}
    (directory / "test.yaml").write_text(
        yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]})
    )
    done = subprocess.run(
        [promtool, "test", "rules", "test.yaml"], cwd=directory, capture_output=True, text=True, timeout=60
    )
    told = done.stdout + done.stderr
    found = set(re.findall(r"alertname: ?(\w+), time: 10m, \s*exp:\[\s*\], \s*got:\[", told))
    assert bool(found) == bool(done.returncode), told
    return found


def test_an_alert_asks_for_figures_that_there_are() -> None:
    """An alert for a misspelt figure never fires; the tables of figures are checked against the code elsewhere."""
    tables = set(re.findall(r"^\| `(eventsvc_\w+)", GUIDE, re.M))
    assert set(re.findall(r"eventsvc_\w+", documented_rules())) <= tables


def test_no_alert_fires_while_all_is_well(tmp_path: Path) -> None:
    assert firing(tmp_path, HEALTHY) == set()


@pytest.mark.parametrize(
    ("missing", "alerts"),
    [
        ("eventsvc_oldest_unread_seconds", {"NoConsumer"}),
        ("eventsvc_queue_events", {"NoProducer"}),
    ],
)
def test_an_alert_fires_for_what_is_missing(tmp_path: Path, missing: str, alerts: set[str]) -> None:
    """A comparison with a missing metric never fires, so absence needs its own alert."""
    assert firing(tmp_path, {name: values for name, values in HEALTHY.items() if name != missing}) == alerts


@pytest.mark.parametrize(
    ("figure", "values", "alert"),
    [
        ("eventsvc_lost_total", "0 0 0 0 0 1x15", "EventsMayBeLost"),
        ("eventsvc_trimmed_pending_total", "0 0 0 0 0 1x15", "EventsMayBeLost"),
        ("eventsvc_restored_total", "0 0 0 0 0 1x15", "EventsWereRestored"),
        ("eventsvc_dead_letters", "1x20", "DeadLetters"),
        ("eventsvc_oldest_unread_seconds", "100x20", "ConsumersAreBehind"),
        ("eventsvc_oldest_pending_seconds", "1000x20", "AnEventIsStuck"),
        ('eventsvc_events_refused_total{reason="queue_full",stream="Orders"}', "0+60x20", "EventsAreRefused"),
        ("eventsvc_tokens_stale", "1x20", "TokensAreStale"),
        ("eventsvc_tls_reload_failures_total", "0 0 0 0 0 1x15", "ACertificateIsRefused"),
        ("eventsvc_tls_certificate_expires_seconds", "600000x20", "ACertificateExpires"),
        ('eventsvc_idempotency_keys{stream="Audit"}', "950000x20", "ManyIdempotencyKeys"),
        ("eventsvc_consumer_ready", "0x20", "AConsumerIsNotReady"),
        ("eventsvc_consumer_name_in_use", "1x20", "AConsumerNameIsInUse"),
        ("eventsvc_handler_failing", "1x20", "AHandlerIsFailing"),
        ("eventsvc_webhook_gone", "1x20", "AWebhookReceiverIsGone"),
        ('eventsvc_redis_connected{role="consumer"}', "0x20", "RedisIsAway"),
    ],
)
def test_an_alert_fires_for_what_is_wrong(tmp_path: Path, figure: str, values: str, alert: str) -> None:
    assert firing(tmp_path, {**HEALTHY, figure: values}) == {alert}
