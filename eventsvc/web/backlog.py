"""
Answers how far a group is behind, for what scales its consumers.
"""

from __future__ import annotations

from http import HTTPStatus
from math import ceil

import attrs

from eventsvc.measures import Measures
from eventsvc.web.answers import RETRY_AFTER, Answer, json_answer, problem


@attrs.frozen
class GroupBacklog:
    """
    What is known of a stream and its group.

    @ivar problem: why there are no recent measures.
    """

    stream: str
    group: str
    measures: Measures = attrs.field(factory=Measures)
    problem: str = ""

    def answer(self) -> Answer:
        """
        Return the measures; or 503 if one of both ages is not known, because a scaler takes 0 for no work.

        C{waiting} is 1 if an entry is unread or pending, else 0.  C{age_seconds} is rounded up, so it is 0 at the
        same time: a scaler may cut decimals off.
        """
        measures = self.measures
        if measures.age is None:
            return problem(503, "Backlog not known", self.problem or measures.problem, ((b"Retry-After", RETRY_AFTER),))
        return json_answer(
            HTTPStatus.OK,
            {
                "stream": self.stream,
                "group": self.group,
                "waiting": int(measures.age > 0),
                "age_seconds": ceil(measures.age),
                "oldest_unread_seconds": measures.unread_age,
                "oldest_pending_seconds": measures.pending_age,
                "unread": measures.unread,
                "pending": measures.pending,
            },
        )
