"""`userscore.UserScore`: a user gets a score, or loses it again; each once, behind the barrier."""

from typing import Final

from branches.database import Database, DuplicateKey, Work
from branches.proto.userscore import UserScoreBase, UserScoreRequest, UserScoreResponse
from coordinator.client import Failure, current_branch

ID_MAX: Final = 2**63 - 1
SCORE_MAX: Final = 2**31 - 1


class UserScoreService(UserScoreBase):
    """limit: the highest score that is given; a higher one is a Failure. seconds: what one call may take."""

    def __init__(self, database: Database, *, limit: int, seconds: float) -> None:
        self._database = database
        self._limit = limit
        self._seconds = seconds

    async def save_user_score(self, message: UserScoreRequest) -> UserScoreResponse:
        """Insert the score. Raises Failure for one over the limit, and for a user who has one."""
        user_id, score = self._checked(message)

        async def insert(work: Work) -> None:
            try:
                await work.execute("INSERT INTO user_score (user_id, score) VALUES (?, ?)", user_id, score)
            except DuplicateKey as error:
                raise Failure(f"user {user_id} has a score already") from error

        await self._database.once(current_branch(), insert, seconds=self._seconds)
        return UserScoreResponse(user_id=user_id, score=score)

    async def save_user_score_callback(self, message: UserScoreRequest) -> UserScoreResponse:
        """Take back what `save_user_score` gave."""

        async def delete(work: Work) -> None:
            # Only reached when the insert of this very transaction stands, so the message was a good one.
            await work.execute("DELETE FROM user_score WHERE user_id = ?", message.user_id)

        await self._database.once(current_branch(), delete, seconds=self._seconds)
        return UserScoreResponse(user_id=message.user_id, score=message.score)

    def _checked(self, message: UserScoreRequest) -> tuple[int, int]:
        # The decoder takes any wire type; and what cannot be saved now cannot be saved later, hence Failure.
        user_id, score = message.user_id, message.score
        if type(user_id) is not int or not 0 < user_id <= ID_MAX:
            raise Failure(f"userId {user_id!r} is no positive 64-bit number")
        if type(score) is not int or not 0 <= score <= SCORE_MAX:
            raise Failure(f"score {score!r} is no number from 0 to {SCORE_MAX}")
        if score > self._limit:
            raise Failure(f"score {score} of user {user_id} is over the limit of {self._limit}")
        return user_id, score
