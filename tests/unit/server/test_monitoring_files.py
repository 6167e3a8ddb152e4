"""The dashboard and the alert rules in the documentation speak of metrics that there are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from obnam.model.ids import ClientName, RepositoryName
from obnam_server.monitoring.event_kinds import Kind
from obnam_server.monitoring.events import Events
from obnam_server.monitoring.gauges import Gauges, UpkeepFigures
from obnam_server.monitoring.metrics import Counters
from obnam_server.store.figures import ClientFigures, RepositoryFigures
from obnam_server.store.quotas import Quota
from obnam_server.upkeep.compact import Compacted
from obnam_server.upkeep.rounds import TaskState

MONITORING = Path(__file__).parents[3] / "docs" / "operations" / "monitoring"
HOME, LAPTOP = RepositoryName("home"), ClientName("laptop")
NAME = re.compile(r"\bobnam_server_\w+")
SELECTOR = re.compile(r"\b(obnam_server_\w+)\{([^}]*)\}")
NOT_OURS = {"le", "job", "instance"}


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """The name of each sample that a busy server shows, with its labels."""
    counters = Counters(depths={"writer": 1})
    counters.answered(b"GET", 200)
    counters.took("POST /v1/generations", 201, 0.1)
    home = RepositoryFigures(
        HOME, Quota(5, 10), 1, 0, 0, 0, [ClientFigures(LAPTOP, 5 * 10**9, alarm=True, missed=True)]
    )
    upkeep = UpkeepFigures({HOME: Compacted()})
    states = {(HOME, "scrub"): TaskState(done_ns=5)}
    counters.add_source(Gauges({HOME: home}, upkeep, states, Events(lambda: 0)))
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(counters.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> Any:
    return json.loads((MONITORING / "grafana.json").read_text())


def expressions() -> Iterator[str]:
    """All that is asked of Prometheus."""
    yield from (rule["expr"] for rule in rules())
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["query"]["query"]


def test_every_metric_is_there(shown: dict[str, set[str]]) -> None:
    for expression in expressions():
        names = set(NAME.findall(expression))
        assert names or expression.startswith("up{"), expression
        assert names <= shown.keys(), expression


def test_every_label_is_there(shown: dict[str, set[str]]) -> None:
    for expression in expressions():
        for name, selector in SELECTOR.findall(expression):
            labels = set(re.findall(r"(\w+)\s*[=!]~?", selector))
            assert labels <= shown[name] | NOT_OURS, expression


def test_every_metric_is_used(shown: dict[str, set[str]]) -> None:
    """What nobody looks at need not be kept by Prometheus."""
    used = {name for expression in expressions() for name in NAME.findall(expression)}
    parts = ("_bucket", "_sum", "_count", "_created")
    unused = {name for name in shown if name not in used and not name.endswith(parts)}
    assert unused == {"obnam_server_not_shown"}


def test_labels_in_texts_are_there(shown: dict[str, set[str]]) -> None:
    """Only those that are left over by the expression."""
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            (name, *_) = NAME.findall(target["expr"])
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert labels <= shown[name]
    for rule in rules():
        labels = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        known = [shown[name] for name in NAME.findall(rule["expr"])]
        assert labels <= set().union(*known) | NOT_OURS, rule["alert"]


def test_what_must_be_watched_is() -> None:
    alerts = {rule["alert"] for rule in rules()}
    assert {
        "ObnamBackupMissed",
        "ObnamDamage",
        "ObnamQuotaFull",
        "ObnamAnomaly",
        "ObnamUpkeepFailed",
    } <= alerts
    for rule in rules():
        assert rule["annotations"].keys() == {"summary", "description"}
        assert rule["labels"]["severity"] in ("warning", "critical")


def test_kinds_in_expressions_are_kinds() -> None:
    kinds = {kind.value for kind in Kind}
    for expression in expressions():
        assert set(re.findall(r'kind="([^"]+)"', expression)) <= kinds


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
