"""The tree of errors, sorted by whose fault it is. A bug is an ``assert``, never one of these.

HeadraceError
├── UserError                 the caller can put it right                 exit 2   HTTP 400
│   ├── InputError            a value that does not fit                   exit 2   HTTP 422
│   │   └── TooLarge          a request body beyond the limit             exit 2   HTTP 413
│   ├── NotFound              a name that does not exist                  exit 2   HTTP 404
│   ├── SettingsError         headrace.toml or the environment            exit 2   HTTP 500
│   ├── ExtraMissing          an optional part is not installed           exit 2   HTTP 501
│   ├── NetworkRefused        the network policy says no                  exit 2   HTTP 502
│   ├── Forbidden             a key is missing or wrong                   exit 2   HTTP 401
│   │   ├── Untrusted         a page of another site asks                 exit 2   HTTP 403
│   │   └── OutOfScope        the key is good, but not for this           exit 2   HTTP 403
│   ├── EmbedderMismatch      a query from another embedding model        exit 2   HTTP 409
│   ├── NewerVersion          a file of a newer Headrace                  exit 2   HTTP 500
│   ├── Unavailable           a handle that nothing stands behind         exit 2   HTTP 503
│   ├── OverBudget            a limit of money, tokens or calls is used up exit 2  HTTP 429
│   ├── Refused               a gate says no, and says which            exit 3   HTTP 409
│   ├── ToolError             a tool cannot do what it was asked          exit 2   HTTP 422
│   └── Sealed                a release does not hold this resource       exit 2   HTTP 409
├── ModelError                the model or its server                     exit 5   HTTP 502
│   ├── ModelRefused          wrong key, model or address                 exit 5   HTTP 502
│   ├── ModelBusy             429 or 503, retries used up                 exit 5   HTTP 503
│   ├── ModelTimeout          no answer in time                           exit 5   HTTP 504
│   ├── InvalidOutput         no value of the form that was asked for     exit 5   HTTP 502
│   └── Diverged              training came to a loss that is no number   exit 5   HTTP 502
├── ReadError                 a file that cannot be read                  exit 4   HTTP 422
└── StateError                the state on disk, or the machine           exit 1   HTTP 500
    ├── Corrupt               a file is damaged                           exit 1   HTTP 500
    ├── Locked                another process writes                      exit 1   HTTP 503
    ├── Conflict              another promotion was quicker               exit 1   HTTP 409
    ├── DiskFull              no room left                                exit 1   HTTP 507
    ├── Overloaded            the server has no place left                exit 1   HTTP 429
    │   ├── WaitedTooLong     a place in the queue did not come up        exit 1   HTTP 503
    │   ├── Draining          the server is shutting down                 exit 1   HTTP 503
    │   ├── WorkerLost        the process that ran it has ended           exit 1   HTTP 503
    │   └── Starting          what answers is being loaded                exit 1   HTTP 503
    └── Cancelled             stopped by a person or a deadline           exit 130 HTTP 499
        └── RanTooLong        the server's time limit stopped it          exit 1   HTTP 504

Every message says what happened, shows the value in ``repr`` and ends with what to do next
(``hint``).
"""

from __future__ import annotations


class HeadraceError(Exception):
    """Base of all. ``hint`` is what to do next; ``exit_code`` and ``status`` serve the doors."""

    exit_code = 1
    status = 500
    default_hint = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        self.message = message
        self.hint = hint or self.default_hint
        super().__init__(message)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    @property
    def code(self) -> str:
        """The class name in lower case with hyphens, for machines: ``embedder-mismatch``."""
        name = type(self).__name__
        return "".join(f"-{c.lower()}" if c.isupper() and i else c.lower() for i, c in enumerate(name))


class UserError(HeadraceError):
    """The caller can put it right."""

    exit_code = 2
    status = 400


class InputError(UserError):
    """A value that does not fit where it was given."""

    status = 422


class TooLarge(InputError):
    """A request body beyond the server's limit."""

    status = 413


class NotFound(UserError):
    """A name behind which nothing exists."""

    status = 404


class SettingsError(UserError):
    """headrace.toml or an environment variable says something that cannot be used."""

    status = 500


class ExtraMissing(UserError):
    """An optional part is not installed."""

    status = 501


class NetworkRefused(UserError):
    """The network policy does not allow this connection."""

    status = 502


class Forbidden(UserError):
    """A key is missing or wrong."""

    status = 401


class Untrusted(Forbidden):
    """A browser sent this for a page of another site, or under a name that is not ours."""

    status = 403


class OutOfScope(Forbidden):
    """A key that is good, but was not made for this."""

    status = 403


class EmbedderMismatch(UserError):
    """The knowledge base was embedded by another model."""

    status = 409


class NewerVersion(UserError):
    """A file was written by a newer Headrace than this one."""

    status = 500


class Unavailable(UserError):
    """A handle behind which nothing is configured."""

    status = 503


class OverBudget(UserError):
    """A limit of money, tokens or calls that was set for this work is used up."""

    status = 429


class Refused(UserError):
    """A gate says no: a licence, a threshold that was set."""

    exit_code = 3
    status = 409


class ToolError(UserError):
    """A tool cannot do what it was asked: not arithmetic, not allowed, or it failed."""

    status = 422


class Sealed(UserError):
    """A release was asked for a resource that its manifest does not hold."""

    status = 409


class ModelError(HeadraceError):
    """The model or the server behind it failed."""

    exit_code = 5
    status = 502


class ModelRefused(ModelError):
    """The server refused: wrong key, unknown model, wrong address, bad request."""


class ModelBusy(ModelError):
    """The server had no capacity and all retries are used up."""

    status = 503


class ModelTimeout(ModelError):
    """The model did not answer in time."""

    status = 504


class InvalidOutput(ModelError):
    """The model wrote no value that fits, in as many attempts as it was given.

    ``attempts`` counts the calls, ``text`` is what it wrote last and ``problems`` says what is wrong
    with that.
    """

    def __init__(
        self,
        message: str,
        *,
        hint: str = "",
        attempts: int = 0,
        text: str = "",
        problems: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hint=hint)
        self.attempts = attempts
        self.text = text
        self.problems = problems


class Diverged(ModelError):
    """Training came to a loss that is not a number, and was stopped there."""


class ReadError(HeadraceError):
    """A file whose content cannot be read."""

    exit_code = 4
    status = 422


class StateError(HeadraceError):
    """State on disk, or the machine itself, is not as it must be."""


class Corrupt(StateError):
    """A file is damaged."""


class Locked(StateError):
    """Another process holds the writer's lock."""

    status = 503
    default_hint = "Wait until it has finished, or stop that process."


class Conflict(StateError):
    """What a change was based on has moved meanwhile; nothing was changed."""

    status = 409


class DiskFull(StateError):
    """The disk has no room left, or a size limit was hit."""

    status = 507
    default_hint = "Free some space and run the same command again: it resumes where it stopped."


class Cancelled(StateError):
    """The run was stopped by a person, a closed connection or a deadline."""

    exit_code = 130
    status = 499


class RanTooLong(Cancelled):
    """The run was stopped by the server's time limit."""

    exit_code = 1
    status = 504


class Overloaded(StateError):
    """The server has no place left. ``retry_after`` is in seconds."""

    status = 429

    def __init__(self, message: str, *, hint: str = "", retry_after: float = 1.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class WaitedTooLong(Overloaded):
    """A place in the queue did not come up in time."""

    status = 503


class Draining(Overloaded):
    """The server is shutting down and takes no new work."""

    status = 503


class WorkerLost(Overloaded):
    """The process that ran the application ended before it had answered."""

    status = 503


class Starting(Overloaded):
    """What is to answer is being loaded."""

    status = 503
