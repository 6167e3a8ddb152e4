"""Problem documents: each kind can be told from every other."""

import json

import pytest

from obnam.wire import problems
from obnam.wire.messages import BadMessage
from obnam.wire.problems import Problem, name_of

ALL = [value for value in vars(problems).values() if isinstance(value, Problem)]


@pytest.mark.parametrize("problem", ALL, ids=lambda problem: problem.name)
def test_a_document_says_which_problem_it_is(problem: Problem) -> None:
    document = json.loads(json.dumps(problem.to_json("what happened", count=3)))
    assert name_of(document) == problem.name
    assert document == {
        "type": f"urn:obnam:problem:{problem.name}",
        "title": problem.title,
        "status": problem.status,
        "detail": "what happened",
        "count": 3,
    }
    assert "detail" not in problem.to_json()
    assert 400 <= problem.status < 600


def test_no_two_have_one_name() -> None:
    assert len({problem.name for problem in ALL}) == len(ALL) > 1


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"type": 3}, {"type": "about:blank"}, {"type": None}]
)
def test_other_documents_are_refused(document: object) -> None:
    with pytest.raises(BadMessage):
        name_of(document)
