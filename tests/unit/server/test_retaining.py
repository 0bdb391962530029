"""How long what has ended is kept, where the settings do not say it."""

from datetime import timedelta

from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.server.retaining import keeping_of


def test_tables_of_our_own_making_are_kept_for_a_week() -> None:
    assert keeping_of(Settings(), made=True).kept == timedelta(days=7)


def test_of_tables_that_were_there_before_nothing_is_deleted_until_it_is_said() -> None:
    keeping = keeping_of(Settings(), made=False)
    assert not keeping.kept
    assert "set Store.Retention" in keeping.remark
    said = keeping_of(Settings(store=Store(retention="30d")), made=False)
    assert (said.kept, said.remark) == (timedelta(days=30), "")


def test_for_ever_can_be_said_of_both() -> None:
    for made in (True, False):
        keeping = keeping_of(Settings(store=Store(retention="0")), made=made)
        assert (keeping.kept, keeping.remark) == (timedelta(0), "")
