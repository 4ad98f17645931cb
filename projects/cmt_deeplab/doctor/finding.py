"""What the doctor finds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One thing that is worth knowing about a data set.

    ``severity`` is 'error' (training or evaluation fails or counts wrongly), 'warning' (they run,
    and the result is worse than it could be) or 'note'. ``file`` is the file that it concerns.
    """

    id: str
    severity: str
    file: str
    message: str
    remedy: str
