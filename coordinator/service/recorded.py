"""What stands in the record of who did what, in words. Pure."""

from collections.abc import Mapping
from typing import Final

from coordinator.explain.sentences import Sentence, sentence

_IN_WORDS: Final[Mapping[str, str]] = {
    "retry": "done_retry",
    "retry many": "done_retry_many",
    "rollback": "done_rollback",
    "skip": "done_skip",
    "stop": "done_stop",
    "bulk retry": "done_bulk_retry",
    "bulk rollback": "done_bulk_rollback",
    "bulk stop": "done_bulk_stop",
    "bulk pause": "done_bulk_pause",
    "bulk resume": "done_bulk_resume",
    "bulk cancel": "done_bulk_cancel",
    "hold": "done_hold",
    "release": "done_release",
    "subscribe": "done_subscribe",
    "unsubscribe": "done_unsubscribe",
    "delete topic": "done_delete_topic",
    "token create": "done_token_create",
    "token revoke": "done_token_revoke",
    "user add": "done_user_add",
    "user password": "done_user_password",
    "user role": "done_user_role",
    "user disable": "done_user_disable",
    "user enable": "done_user_enable",
    "user remove": "done_user_remove",
    "login": "done_login",
    "logout": "done_logout",
    "session end": "done_session_end",
    "purge": "done_purge",
}


def in_words(action: str) -> Sentence:
    """What somebody did, or wanted to: its action as people read it, a call that was refused by its path."""
    key = _IN_WORDS.get(action)
    return sentence(key) if key else sentence("done_call", call=action)
