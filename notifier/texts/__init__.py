"""The words, one module a language; `language.py` says what a language has. A new one is a module and an entry here."""

from collections.abc import Mapping
from typing import Final

from notifier.texts import en, ru
from notifier.texts.language import Language

LANGUAGES: Final[Mapping[str, Language]] = {"en": en.LANGUAGE, "ru": ru.LANGUAGE}
