"""`user.User`: a user is saved, or the saving undone; each once, behind the barrier."""

from typing import Final

from branches.database import Database, DuplicateKey, Work
from branches.proto.user import UserBase, UserRequest, UserResponse
from coordinator.client import Failure, current_branch

ID_MAX: Final = 2**63 - 1  # column id is a bigint
NAME_LENGTH_MAX: Final = 255
GENDER_LENGTH_MAX: Final = 32


class UserService(UserBase):
    """seconds: what one call may take."""

    def __init__(self, database: Database, *, seconds: float) -> None:
        self._database = database
        self._seconds = seconds

    async def save_user(self, message: UserRequest) -> UserResponse:
        """Insert the user. Raises Failure for a user that is not one, and for an id that is taken."""
        user_id, name, gender = _checked(message)

        async def insert(work: Work) -> None:
            try:
                await work.execute(
                    "INSERT INTO user (id, name, gender) VALUES (?, ?, ?)", user_id, name, gender
                )
            except DuplicateKey as error:
                raise Failure(f"user {user_id} exists already") from error

        await self._database.once(current_branch(), insert, seconds=self._seconds)
        return UserResponse(id=str(user_id), name=name, gender=gender)

    async def save_user_callback(self, message: UserRequest) -> UserResponse:
        """Delete what `save_user` inserted."""

        async def delete(work: Work) -> None:
            # Only reached when the insert of this very transaction stands, so the message was a good one.
            await work.execute("DELETE FROM user WHERE id = ?", int(message.id))

        await self._database.once(current_branch(), delete, seconds=self._seconds)
        return UserResponse(id=message.id, name=message.name, gender=message.gender)


def _checked(message: UserRequest) -> tuple[int, str, str]:
    # The decoder takes any wire type; and what cannot be saved now cannot be saved later, hence Failure.
    if not all(isinstance(value, str) for value in (message.id, message.name, message.gender)):
        raise Failure("id, name and gender must be strings")
    if not (message.id.isascii() and message.id.isdigit()) or not 0 < int(message.id[:20]) <= ID_MAX:
        raise Failure(f"id {message.id[:40]!r} is no positive 64-bit number in decimal")
    if not message.name or len(message.name) > NAME_LENGTH_MAX:
        raise Failure(f"name must have 1 to {NAME_LENGTH_MAX} characters, this one has {len(message.name)}")
    if len(message.gender) > GENDER_LENGTH_MAX:
        raise Failure(
            f"gender must have at most {GENDER_LENGTH_MAX} characters, this one has {len(message.gender)}"
        )
    return int(message.id), message.name, message.gender
