"""A policy says what it says: JSON there and back, and every mistake is one line with its key."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from obnam.errors import UsageError
from obnam.model.ids import ClientName
from obnam_server.upkeep.policy import (
    COUNTING,
    DAY_NS,
    Policy,
    PolicyRefused,
    Rules,
    parse_policy,
    read_policy,
)

durations = st.builds(
    lambda number, unit: f"{number}{unit}", st.integers(0, 100), st.sampled_from("smhdwy")
)
rule_sets = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(COUNTING, st.integers(0, 1000)),
        "within": durations,
        "minimum_age": durations,
        "newest": st.integers(1, 50),
    },
)
policies = st.builds(
    lambda rules, trash_days, clients: (
        {**rules, "daily": 1, "trash_days": trash_days, "clients": clients}
    ),
    rule_sets,
    st.integers(1, 3650),
    st.dictionaries(
        st.sampled_from(["laptop", "desktop"]), rule_sets.map(lambda rules: {**rules, "last": 1})
    ),
)


@given(policies)
def test_there_and_back(document: dict[str, object]) -> None:
    found = read_policy(json.dumps(document))
    assert found is not None
    assert parse_policy(found.to_json()) == found
    assert read_policy(json.dumps(found.to_json())) == found


def test_what_is_not_said_has_its_default() -> None:
    assert parse_policy({"daily": 14}) == Policy(
        Rules(daily=14, minimum_age_ns=7 * DAY_NS, newest=3), trash_days=30
    )


def test_null_is_no_policy() -> None:
    assert read_policy("null") is None


def test_a_client_has_its_own_rules_where_it_says_so_and_the_repositorys_otherwise() -> None:
    found = parse_policy(
        {"daily": 14, "within": "2w", "clients": {"laptop": {"daily": 30, "minimum_age": "1h"}}}
    )
    assert found is not None
    ours = found.rules_of(ClientName("laptop"))
    assert (ours.daily, ours.within_ns, ours.minimum_age_ns) == (30, 14 * DAY_NS, DAY_NS // 24)
    assert found.rules_of(ClientName("desktop")) == found.rules


def test_a_client_can_be_without_a_rule_that_the_others_have() -> None:
    found = parse_policy({"daily": 14, "yearly": 3, "clients": {"laptop": {"yearly": 0}}})
    assert found is not None
    assert found.rules_of(ClientName("laptop")).yearly == 0


@pytest.mark.parametrize(
    ("text", "shown"),
    [("90s", "90s"), ("120s", "2m"), ("24h", "1d"), ("14d", "2w"), ("365d", "1y"), ("0y", "0d")],
)
def test_durations_have_units(text: str, shown: str) -> None:
    found = parse_policy({"daily": 1, "minimum_age": text})
    assert found is not None
    assert found.to_json()["minimum_age"] == shown


@pytest.mark.parametrize(
    ("text", "key", "way_out"),
    [
        ('{"dayly": 3}', "'dayly'", "the known keys are last, hourly, daily"),
        ('{"daily": 3, "clients": {"a": {"trash_days": 3}}}', "clients.a.'trash_days'", "known"),
        ('{"daily": 3, "d\\n": 3}', "'d\\n'", "the known keys are"),
        ('{"daily": -1}', "daily", "from 0 to 100000"),
        ('{"daily": true}', "daily", "whole number"),
        ('{"daily": 1.0}', "daily", "whole number"),
        ('{"daily": "3"}', "daily", "whole number"),
        ('{"daily": null}', "daily", "whole number"),
        ('{"daily": 1e999}', "daily", "whole number"),
        ('{"daily": 100001}', "daily", "from 0 to 100000"),
        ('{"daily": 3, "newest": 0}', "newest", "from 1"),
        ('{"daily": 3, "trash_days": 0}', "trash_days", "from 1 to 3650"),
        ('{"within": 30}', "within", 'like "30d"'),
        ('{"within": "30"}', "within", "the units are s, m, h, d, w, y"),
        ('{"within": "30 d"}', "within", 'like "30d"'),
        ('{"within": "-3d"}', "within", 'like "30d"'),
        ('{"within": "101y"}', "within", "at most 100 years"),
        ('{"within": "٣d"}', "within", 'like "30d"'),
        ('{"within": "3d\\n"}', "within", 'like "30d"'),
        ('{"daily": 3, "minimum_age": []}', "minimum_age", 'like "30d"'),
        ('{"daily": 3, "clients": []}', "clients", "mapping from names"),
        ('{"daily": 3, "clients": {"Laptop": {"daily": 3}}}', "clients.'Laptop'", "lower-case"),
        ('{"daily": 3, "clients": {"laptop": null}}', "clients.laptop", "must be a mapping"),
        ('{"daily": 3, "clients": {"laptop": {"newest": 0}}}', "clients.laptop.newest", "from 1"),
        ('{"daily": 3, "daily": 4}', "'daily'", "write it once"),
    ],
)
def test_a_mistake_is_one_line_with_its_key_and_what_to_do(
    text: str, key: str, way_out: str
) -> None:
    with pytest.raises(PolicyRefused) as caught:
        read_policy(text)
    message = str(caught.value)
    assert message.startswith(f"retention policy: {key}: ")
    assert way_out in message
    assert "\n" not in message
    assert isinstance(caught.value, UsageError)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"daily": 0}',
        '{"within": "0d", "newest": 100}',
        '{"minimum_age": "30d"}',
        '{"clients": {"laptop": {"daily": 3}}}',
        '{"daily": 3, "clients": {"laptop": {"daily": 0}}}',
    ],
)
def test_a_policy_that_would_keep_nothing_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused, match=r"would keep nothing but the newest.*give one of"):
        read_policy(text)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "3", '"daily"'])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(PolicyRefused) as caught:
        read_policy(text)
    message = str(caught.value)
    assert "like {" in message
    assert "\n" not in message


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(st.sampled_from(["daily", "clients", "laptop"]), inner)
        ),
    )
)
def test_anything_else_is_refused_and_not_a_crash(document: object) -> None:
    try:
        assert isinstance(parse_policy(document), Policy | None)
    except PolicyRefused as error:
        assert "\n" not in str(error)
