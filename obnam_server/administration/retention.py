"""The retention policy of a repository: shown, set, tried and carried out."""

from obnam.wire.members import Json
from obnam_server.administration.generations import repository_of
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.store import Store
from obnam_server.upkeep.policy import Policy, parse_policy
from obnam_server.upkeep.retain import carry_out, look
from obnam_server.upkeep.retention_report import RetentionReport


def show(store: Store, arguments: Arguments) -> Json:
    """The policy of a ``repository``, and what retention would do now by it."""
    repository = repository_of(store, arguments)
    report = RetentionReport(look(repository, store.now_ns()).plan)
    policy = parse_policy(repository.decisions.register().policy)
    return {"policy": _shown(policy), "report": report.to_json(), "lines": report.lines()}


def set_policy(store: Store, arguments: Arguments) -> Json:
    """Let a ``policy`` be in force in a ``repository``; null: everything is kept."""
    repository = repository_of(store, arguments)
    policy = parse_policy(arguments.values.get("policy"))
    shown = _shown(policy)
    repository.change(repository.decisions.set_policy, shown)
    return {"policy": shown}


def run(store: Store, arguments: Arguments) -> Json:
    """Do now in a ``repository`` what retention would do in its next round."""
    repository = repository_of(store, arguments)
    looked = look(repository, store.now_ns())
    done = repository.change(carry_out, repository, looked)
    report = RetentionReport(looked.plan)
    return {"done": done, "report": report.to_json(), "lines": report.lines()}


def _shown(policy: Policy | None) -> Json | None:
    return None if policy is None else policy.to_json()


OPERATIONS = (
    Operation("retention-show", show, Access.OPEN),
    Operation("retention-set", set_policy, Access.CHANGE),
    Operation("retention-run", run, Access.CHANGE),
)
