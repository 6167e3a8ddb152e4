"""Values from a file that somebody wrote, as they stand in the line that says what is wrong."""

SHOWN_MAX = 200
"""Characters; more of a value helps nobody to find it."""


def shown(value: object) -> str:
    """The value in one short piece, whatever it is. Never raises.

    Of lists and mappings only what they are: a few lines of YAML can be nested beyond what Python
    follows, or hold by references more than fits into memory.
    """
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    try:
        text = repr(value)
    except ValueError:  # an int of thousands of digits has no decimal text
        return "a number"
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}…"
