"""Errors an operator reads."""


class LodepoolError(Exception):
    """Base of all errors that are meant for the operator."""


class UserError(LodepoolError):
    """Raised when the operator has to change something; shown as a sentence, never as a traceback.

    Attributes:
        message: What is wrong, one sentence.
        hint: What to do about it; empty when there is nothing to say.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class ConfigError(UserError):
    """Raised when a setting is unknown or has a bad value.

    Attributes:
        path: The setting's dotted path, or the file's path when the file cannot be read.
        problem: What is wrong with it.
        expected: What would be right; empty when the problem says it all.
    """

    def __init__(self, path: str, problem: str, expected: str = "") -> None:
        super().__init__(f"{path}: {problem}", f"expected {expected}" if expected else "")
        self.path = path
        self.problem = problem
        self.expected = expected
