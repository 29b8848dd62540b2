"""Which arm of a rollout a request takes: the legacy system or the candidate.

Theory. A user's arm is a hash of who they are, so it needs no memory: every process gives the same user the same arm, and
because a percentage is a threshold on that hash, raising it moves users to the candidate and nobody back. Two rollouts have
two salts, so that their cohorts are independent.

Rules.
- In this order: the kill switch (`enabled`), the test users, the rules (the first that fits decides), the bucket. A test user
  keeps the candidate at 0 %; switched off, nobody does.
- What is decided by chance needs somebody to draw for: without a unit's id a percentage gives legacy, be it the rollout's or a
  rule's. A rule that names an arm draws nothing and needs no id.
- A rule's percentage is a threshold on the same bucket, so raising that moves nobody back either.
- Who decides from outside (`Told`: a flag of another system) stands below the kill switch and the test users. An arm that it
  names stands above the rules, a percentage in the place of the rollout's own.
- The salt is the rollout's name until it is set, and is never changed while a rollout climbs: that would draw everybody anew.
- Buckets are not remembered: within a call, keeping one and forgetting another costs as much as the hash. It is Python's own
  sha256 where that is built in: OpenSSL's gives the same, and takes longer to begin than to hash an id.
- `legacy_js` is there for cohorts that already run on the guide's `simpleHash`; it has no salt, whole percents, and gives
  consecutive ids neighbouring buckets, hence is not the default.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from functools import lru_cache
from math import ceil
from operator import mul
from struct import unpack
from typing import Literal

from msgspec.structs import force_setattr

from podium.errors import RequestError
from podium.routing.spec import quote
from podium.types import Value

try:
    from _sha2 import sha256  # type: ignore[import-not-found]
except ImportError:  # Python before 3.12, or one that was built without
    try:
        from _sha256 import sha256  # type: ignore[import-not-found]
    except ImportError:
        from hashlib import sha256

Arm = Literal["legacy", "candidate"]
Hash = Literal["sha256", "legacy_js"]
Unit = Literal["user", "team", "key", "conversation"]
Grounds = Literal["disabled", "test_user", "told", "rule", "no_unit", "bucket", "breaker"]
"""What decided an arm. Only `bucket` is chance, so only those users can be compared. `breaker`: the bucket chose the
candidate, which is down."""

BUCKETS: dict[Hash, int] = {"sha256": 10_000, "legacy_js": 100}
"""How many buckets a hash has: their width is the least step of a percentage."""

_UNITS = frozenset({"user", "team", "key", "conversation"})
_ARMS = frozenset({"legacy", "candidate"})
SETTLED = frozenset({"match", "rules", "unit", "salt", "hash"})
"""What no change of a rollout can change."""
_POWERS = tuple(pow(31, at, 1 << 32) for at in range(64))


class Rule(Value, frozen=True, kw_only=True):
    """A share of its own, or an arm, for some of the requests.

    Of `user`, `team` and `tag` at least one is given, and all that are given must fit. Of `percent` and `arm` exactly one is.
    Raises `RequestError` for anything else.
    """

    user: str | None = None
    team: str | None = None
    tag: str | None = None
    percent: float | None = None
    """Of those whom the rule fits, 0 to 100."""
    arm: Arm | None = None

    def __post_init__(self) -> None:
        if self.user is None and self.team is None and self.tag is None:
            raise _wrong("rules", "A rule of a rollout fits nobody in particular", "Give it a user, a team or a tag.")
        if (self.percent is None) == (self.arm is None):
            raise _wrong(
                "rules", "A rule of a rollout has a percent or an arm, not both and not neither", "Give it one of them."
            )
        if self.arm is not None and self.arm not in _ARMS:
            raise _wrong("rules", f"A rule's arm is {self.arm!r}", "Use legacy or candidate.")
        if self.percent is not None:
            _check_percent(self.percent, "rules")

    def fits(self, user_id: str | None, team: str | None, tags: tuple[str, ...]) -> bool:
        """Return whether the rule is about this request."""
        return (
            (self.user is None or self.user == user_id)
            and (self.team is None or self.team == team)
            and (self.tag is None or self.tag in tags)
        )


class Stage(Value, frozen=True, kw_only=True):
    """Where in a climb a percentage was set by the ramp."""

    climb: int
    """The climb's number."""
    step: int
    """Counted from 0; -1 while legacy is measured."""


class Rollout(Value, frozen=True, kw_only=True):
    """A candidate that takes over from legacy, a share of the units at a time.

    Raises `RequestError` for a share outside 0 to 100 and for units and hashes that there are not.
    """

    name: str
    match: tuple[str, ...] = ()
    """The specs, or the legacy system's model names, that it governs."""
    legacy: str | None = None
    """A spec; None where the legacy arm is a callable or an endpoint that the library was given."""
    candidate: str
    """A spec."""
    percent: float = 0.0
    """Share of the units that take the candidate, 0 to 100, in steps of 0.01 (`sha256`) or 1 (`legacy_js`)."""
    test_users: tuple[str, ...] = ()
    """Users who take the candidate at any share."""
    rules: tuple[Rule, ...] = ()
    unit: Unit = "user"
    """What is drawn for. `conversation`: one conversation never changes arms midway, two of one user may differ."""
    salt: str = ""
    """What tells this rollout's draw from another's; "" becomes the name."""
    hash: Hash = "sha256"
    enabled: bool = True
    """The kill switch: False gives everybody legacy, test users too."""
    stage: Stage | None = None
    """The place in the climb that set the percentage; None: it was set by hand."""

    def __post_init__(self) -> None:
        if not self.name:
            raise _wrong("name", "A rollout has no name", "Name it.")
        if not self.salt:
            force_setattr(self, "salt", self.name)
        if self.unit not in _UNITS:
            raise _wrong(
                "unit", f"Rollout {quote(self.name)} draws for {self.unit!r}", f"Use one of {', '.join(sorted(_UNITS))}."
            )
        if self.hash not in BUCKETS:
            raise _wrong("hash", f"Rollout {quote(self.name)} hashes by {self.hash!r}", f"Use one of {', '.join(BUCKETS)}.")
        _check_percent(self.percent, "percent")


class Told(Value, frozen=True, kw_only=True):
    """What somebody else decided for one request: an arm, or a percentage; exactly one of them. Raises `RequestError`."""

    arm: Arm | None = None
    percent: float | None = None
    """In the place of the rollout's own, 0 to 100."""
    whose: str
    """Who says so, for the reasons: `flag chat-arm`."""

    def __post_init__(self) -> None:
        if (self.arm is None) == (self.percent is None) or not (self.arm is None or self.arm in _ARMS):
            raise _wrong("told", f"{self.whose} names no arm and no percentage, or both", "Give one of them.")
        if self.percent is not None:
            _check_percent(self.percent, "told")


class Decision(Value, frozen=True, kw_only=True, gc=False):
    """The arm that a request takes, and why."""

    arm: Arm
    reason: str
    """In words, with the figures that decided."""
    by: Grounds


def decide(
    rollout: Rollout,
    *,
    user_id: str | None = None,
    team: str | None = None,
    tags: tuple[str, ...] = (),
    unit_id: str | None = None,
    told: Told | None = None,
    testers: Container[str] | None = None,
) -> Decision:
    """Return the arm that a request takes.

    `unit_id` is the id of what `rollout.unit` says: the user's, the team's, the key's or the conversation's; None or "" where
    the request has none. `told` is what somebody else decided, where somebody did. `testers` are the rollout's test users in a
    form that is searched faster.
    """
    if not rollout.enabled:
        return Decision(arm="legacy", reason="the rollout is switched off", by="disabled")
    if user_id is not None and user_id in (rollout.test_users if testers is None else testers):
        return Decision(arm="candidate", reason=f"{user_id} is a test user", by="test_user")
    if told is not None and told.arm is not None:
        return Decision(arm=told.arm, reason=f"{told.whose} says {told.arm}", by="told")
    for rule in rollout.rules:
        if rule.fits(user_id, team, tags):
            whom = _whom(rule)
            if rule.arm is not None:
                return Decision(arm=rule.arm, reason=f"the rule for {whom} says {rule.arm}", by="rule")
            return _draw(rollout, rule.percent or 0.0, unit_id, f" of the rule for {whom}", "rule")
    if told is not None and told.percent is not None:
        return _draw(rollout, told.percent, unit_id, f" of {told.whose}", "told")
    return _draw(rollout, rollout.percent, unit_id, "", "bucket")


def unheard(now: Rollout, began: Rollout, config: Rollout) -> tuple[str, ...]:
    """Return the keys that a config changed since the rollout began by it, and that it does not follow: its store decides."""
    keys = (key for key in Rollout.__struct_fields__ if key not in ("name", "stage"))
    return tuple(key for key in keys if getattr(config, key) not in (getattr(began, key), getattr(now, key)))


def share(rollout: Rollout) -> float:
    """Return the true share, 0 to 1, of the units that its percentage draws: whole buckets."""
    if rollout.hash == "legacy_js":
        return ceil(rollout.percent) / 100
    return round(rollout.percent * 100) / 10_000


def bucket(salt: str, unit: str, hash: Hash = "sha256") -> int:
    """Return a unit's bucket: 0 to 9,999 for `sha256`, 0 to 99 for `legacy_js`, which has no salt."""
    if hash == "legacy_js":
        return simple_hash(unit) % 100
    text = f"{salt}:{unit}"
    # Ids come out of JSON, which can write half a surrogate pair: that is an id like any other, and no reason to fail.
    octets = text.encode() if text.isascii() else text.encode("utf-8", "surrogatepass")
    return int.from_bytes(sha256(octets).digest()[:8], "big") % 10_000


def simple_hash(text: str) -> int:
    """Return the `simpleHash` of the integration guide, bit for bit: 0 to 2**31.

    It works on UTF-16 code units in 32 bits, like JavaScript's `charCodeAt` and `<<`. Its last step is `Math.abs` of a float,
    so the least number of 32 bits becomes 2147483648 and not itself.
    """
    # The last code unit first, to meet the rising powers of 31: faster than a loop over the characters.
    units: Sequence[int]
    state: int
    if text.isascii():
        units = text.encode("ascii")[::-1]
    else:
        codes = text.encode("utf-16-be", "surrogatepass")[::-1]
        units = unpack(f"<{len(codes) // 2}H", codes)
    if len(units) <= len(_POWERS):
        state = sum(map(mul, units, _POWERS)) & 0xFFFFFFFF
    else:
        state = sum(unit * pow(31, at, 1 << 32) for at, unit in enumerate(units)) & 0xFFFFFFFF
    return state if state < 0x80000000 else 0x100000000 - state


def _draw(rollout: Rollout, percent: float, unit_id: str | None, whose: str, by: Grounds) -> Decision:
    """Decide by chance: by the unit's bucket against a percentage."""
    if not unit_id:
        return Decision(arm="legacy", reason=f"the request names no {rollout.unit} to draw for", by="no_unit")
    at = bucket(rollout.salt, unit_id, rollout.hash)
    below, words = _threshold(percent, rollout.hash)
    if at < below:
        return Decision(arm="candidate", reason=f"bucket {at} is within {words}{whose}", by=by)
    return Decision(arm="legacy", reason=f"bucket {at} is outside {words}{whose}", by=by)


@lru_cache(maxsize=256)
def _threshold(percent: float, hash: Hash) -> tuple[float, str]:
    """Return the bucket below which a percentage draws the candidate, and the percentage in words."""
    return percent if hash == "legacy_js" else round(percent * 100), f"the {percent:g} %"


def _whom(rule: Rule) -> str:
    """Say whom a rule is about."""
    named = (("user", rule.user), ("team", rule.team), ("tag", rule.tag))
    return " and ".join(f"{what} {value}" for what, value in named if value is not None)


def _check_percent(percent: float, param: str) -> None:
    if not 0 <= percent <= 100:
        raise _wrong(param, f"A rollout's share is {percent} %", "Use a number from 0 to 100.")


def _wrong(param: str, what: str, hint: str) -> RequestError:
    return RequestError(f"{what}.", param=param, hint=hint)
