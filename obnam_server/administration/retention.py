"""The retention policy of a repository: shown, set, tried and carried out."""

from obnam.wire.members import Json
from obnam_server.administration.generations import repository_of
from obnam_server.administration.operation import Access, Arguments, Operation
from obnam_server.store.repository import RepositoryStore
from obnam_server.store.store import Store
from obnam_server.upkeep.policy import Policy, parse_policy
from obnam_server.upkeep.retain import carry_out, look
from obnam_server.upkeep.retention import Fate, Plan
from obnam_server.upkeep.retention_report import RetentionReport

COUNTED_MAX = 1000
"""Of so many generations at most it is counted what deleting them frees: clients' changes wait
meanwhile, and all chunk sets are read for it."""


def show(store: Store, arguments: Arguments) -> Json:
    """The policy of a ``repository``, and what retention would do now by it."""
    repository = repository_of(store, arguments)
    report = _report(repository, look(repository, store.now_ns()).plan)
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
    report = _report(repository, looked.plan)  # before: what was expunged cannot be counted
    done = repository.change(carry_out, repository, looked)
    return {"done": done, "report": report.to_json(), "lines": report.lines()}


def _report(repository: RepositoryStore, plan: Plan) -> RetentionReport:
    if len(plan.decisions) > COUNTED_MAX:
        return RetentionReport(plan)
    accounting = repository.accounting
    going = [*plan.with_fate(Fate.GOES), *plan.with_fate(Fate.EXPUNGED)]
    together = accounting.freed_bytes(going) if going else None
    return RetentionReport(plan, accounting.alone_bytes(), together)


def _shown(policy: Policy | None) -> Json | None:
    return None if policy is None else policy.to_json()


OPERATIONS = (
    Operation("retention-show", show, Access.OPEN),
    Operation("retention-set", set_policy, Access.CHANGE),
    Operation("retention-run", run, Access.CHANGE),
)
