"""What one action asked of many transactions would do, and what has to be agreed to. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from coordinator.access.permissions import Principal
from coordinator.errors import Failure, Invalid
from coordinator.explain.actions import Action, against
from coordinator.explain.sentences import Sentence, sentence
from coordinator.model import Status
from coordinator.service.acting import check_reason
from coordinator.store.gathering import Match

ACTIONS: Final = (Action.RETRY, Action.ROLLBACK, Action.STOP)
RATE_DEFAULT: Final = 50  # transactions a second
RATE_MAX: Final = 1000
CONFIRMED_ABOVE: Final = 100  # of more the number has to be given
EXAMPLES_MAX: Final = 5
_SHRUNK_MIN: Final = 10  # so many fewer than confirmed there may always be; else a tenth


@dataclass(frozen=True, slots=True)
class Wish:
    """What is wanted of all that the filter finds. id_max: no newer transaction; 0: the newest there is now.

    rate: items a second. confirm: how many they are, where they are more than CONFIRMED_ABOVE.
    """

    action: Action
    filter: str = ""
    id_max: int = 0
    reason: str = ""
    rate: int = RATE_DEFAULT
    confirm: int = 0


@dataclass(frozen=True, slots=True)
class Group:
    """Items that are alike in whether the action is allowed. against: why not; None where it is."""

    against: Sentence | None
    count: int
    examples: tuple[str, ...]  # gids

    @property
    def why_not(self) -> str:
        """In English; empty where it is allowed."""
        return self.against.told() if self.against else ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What the action would be asked of. groups: the largest first."""

    action: Action
    filter: str
    id_max: int
    count: int
    groups: tuple[Group, ...]

    @property
    def eligible(self) -> int:
        """How many of them it may be done to."""
        return sum(group.count for group in self.groups if not group.why_not)


class Unconfirmed(Failure):
    """They are not as many as was agreed to: here is what would be done."""

    def __init__(self, plan: Plan, confirm: int) -> None:
        asked = f"not {confirm}" if confirm else "which has to be confirmed"
        super().__init__(
            f"confirm: the filter finds {plan.count} transactions, {asked}: look, and ask again."
        )
        self.plan = plan


def check_wish(wish: Wish) -> None:
    """Raise Invalid for what cannot be meant."""
    if wish.action not in ACTIONS:
        raise Invalid(f"action: must be one of {', '.join(ACTIONS)}, not {wish.action}")
    check_reason(wish.reason)
    if not 1 <= wish.rate <= RATE_MAX:
        raise Invalid(f"rate: must be from 1 to {RATE_MAX} transactions a second, but is {wish.rate}")


def check_agreed(plan: Plan, confirm: int) -> None:
    """Raise Failure where there is nothing to do, Unconfirmed where another number was confirmed.

    Of what was confirmed a few may have come right since, and be found no more; more there may not be.
    """
    if not plan.count:
        raise Failure("the filter finds no transaction: there is nothing to do.")
    if not plan.eligible:
        raise Failure(f"{plan.action} is allowed of none of {plan.count}: {plan.groups[0].why_not}.")
    shrunk_max = max(_SHRUNK_MIN, confirm // 10)
    is_needed = plan.count > CONFIRMED_ABOVE or confirm
    if is_needed and not plan.count <= confirm <= plan.count + shrunk_max:
        raise Unconfirmed(plan, confirm)


def planned(wish: Wish, id_max: int, matches: Sequence[Match], who: Principal) -> Plan:
    """What it comes to. who: asks."""
    counts: Counter[str] = Counter()
    reasons: dict[str, Sentence | None] = {}
    examples: dict[str, list[str]] = {}
    for match in matches:
        reason = _against(wish.action, match, who)
        why = reason.told() if reason else ""
        counts[why] += 1
        reasons[why] = reason
        some = examples.setdefault(why, [])
        if len(some) < EXAMPLES_MAX:
            some.append(match.gid)
    groups = [Group(reasons[why], count, tuple(examples[why])) for why, count in counts.most_common()]
    return Plan(wish.action, wish.filter, id_max, len(matches), tuple(groups))


def _against(action: Action, match: Match, who: Principal) -> Sentence | None:
    if not who.owns(match.gid):
        return not_theirs(who.name, who.gid_prefix)
    try:
        status = Status(match.status)
    except ValueError:
        return sentence("unknown_status", status=repr(match.status))
    return against(action, match.trans_type, status)


def not_theirs(who: str, gid_prefix: str) -> Sentence:
    """Why somebody may do nothing to a transaction."""
    return sentence("not_theirs", who=who, gid_prefix=gid_prefix)
