"""What a language has."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from notifier.notices import TroubleKind


class Plural(StrEnum):
    """Plural forms that our languages use. Source: CLDR, plural rules."""

    ONE = "one"
    FEW = "few"
    MANY = "many"


@dataclass(frozen=True, slots=True, kw_only=True)
class Language:
    """The texts of one language; {names} are put in by `notifier.rendering`.

    Attributes:
        plural: Number → its plural form.
        units: "day", "hour", "minute", "second", "notice" → the word by plural form.
        titles: Key of a notice → its headline.
        bodies: Key of a notice → its sentences.
        troubles: Trouble → its sentence.
        reasons: Why shares are refused → the words.
        words: Everything else.
    """

    plural: Callable[[int], Plural]
    units: Mapping[str, Mapping[Plural, str]]
    titles: Mapping[str, str]
    bodies: Mapping[str, str]
    troubles: Mapping[TroubleKind, str]
    reasons: Mapping[str, str]
    words: Mapping[str, str]
