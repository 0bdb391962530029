"""Who may do what: roles, modes and the one decision."""

import pytest

from coordinator.access.permissions import (
    ANYBODY,
    OPEN,
    ROLES,
    Mode,
    Needs,
    Permission,
    Principal,
    Role,
    anonymous,
    changes,
    looks,
    may,
)

ALLOWED = {
    Role.SERVICE: {"submit"},
    Role.VIEWER: {"read", "metrics"},
    Role.OPERATOR: {"read", "metrics", "read.payload", "operate", "operate.force", "topics"},
    Role.ADMIN: {permission.value for permission in Permission},
}


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("permission", Permission)
def test_a_role_may_what_it_is_for_and_nothing_else(role: Role, permission: Permission):
    who = Principal("x", ROLES[role])
    assert may(who, looks(permission)) is (permission.value in ALLOWED[role])


def test_one_of_several_permissions_is_enough():
    needs = looks(Permission.SUBMIT, Permission.READ)
    assert [role for role in Role if may(Principal("x", ROLES[role]), needs)] == [
        Role.SERVICE,
        Role.VIEWER,
        Role.OPERATOR,
        Role.ADMIN,
    ]
    needs = looks(Permission.SUBMIT, Permission.AUDIT_READ)
    assert [role for role in Role if may(Principal("x", ROLES[role]), needs)] == [Role.SERVICE, Role.ADMIN]


def test_nobody_needs_anything_for_what_is_open():
    assert may(Principal("x", frozenset()), OPEN)


def test_a_call_that_names_no_permission_cannot_be_registered():
    for made in (looks, changes):
        with pytest.raises(ValueError, match="is open, or says which permissions it needs"):
            made()
    with pytest.raises(ValueError, match="is open, or says which permissions it needs"):
        Needs(frozenset({Permission.READ}), changes=False, is_open=True)


@pytest.mark.parametrize(
    ("mode", "metrics_are_open", "expected"),
    [
        (Mode.OFF, False, set(Permission)),
        (Mode.OPERATORS, True, {Permission.SUBMIT, Permission.METRICS}),
        (Mode.OPERATORS, False, {Permission.SUBMIT}),
        (Mode.ALL, True, {Permission.METRICS}),
        (Mode.ALL, False, set()),
    ],
)
def test_who_shows_nothing_may_what_the_mode_leaves_open(
    mode: Mode, metrics_are_open: bool, expected: set[Permission]
):
    assert anonymous(mode, metrics_are_open=metrics_are_open).permissions == expected


@pytest.mark.parametrize(
    ("prefix", "gid", "expected"),
    [
        ("", "any", True),
        ("", "", True),
        ("shop-", "shop-1", True),
        ("shop-", "shop-", True),
        ("shop-", "shop", False),
        ("shop-", "Shop-1", False),
        ("shop-", " shop-1", False),
        ("shop-", "other", False),
        ("shop-", "", False),
    ],
)
def test_a_gid_is_theirs_whose_prefix_it_has(prefix: str, gid: str, expected: bool):
    assert Principal("x", ROLES[Role.SERVICE], gid_prefix=prefix).owns(gid) is expected


def test_anybody_may_everything():
    assert all(may(ANYBODY, looks(permission)) for permission in Permission)
