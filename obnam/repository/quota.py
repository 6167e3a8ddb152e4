"""Whether a repository is nearly as full as it may be. Pure."""

from obnam.wire.limits import QUOTA_WARNING_SHARE
from obnam.wire.messages import RepositoryDescription


def quota_warning(description: RepositoryDescription, sent_bytes: int = 0) -> str | None:
    """What to say when a repository is nearly full; ``sent_bytes``: since the description."""
    quota = description.quota_bytes
    used = description.used_bytes + sent_bytes
    if quota is None or used < QUOTA_WARNING_SHARE * quota:
        return None
    return (
        f"the repository has {used:,} bytes of at most {quota:,} ({used / quota:.0%}): "
        f"soon nothing more can be backed up. Ask the server's administrator for a larger quota "
        f"or to delete generations"
    )
