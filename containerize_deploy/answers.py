"""What the service answers, whoever asks: the Lambda function and the shell both go through here.

`answer.schema.json` describes every answer; the tests hold them to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from containerize_deploy.scene_model import Classification, SceneModel
from data_prep_eda.preprocessing import ImageError, load_image

if TYPE_CHECKING:
    from containerize_deploy.fetching import Policy

# Error codes and the HTTP status that each one travels under.
STATUS = {
    "malformed": 400,  # the request is not one of the documented forms
    "not_allowed": 403,  # the address leads where the service does not fetch from
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,  # too many bytes, pixels or photographs
    "not_an_image": 415,
    "undecodable": 422,  # an image, but broken
    "internal": 500,
    "upstream_failed": 502,  # the photograph's address did not deliver it
    "upstream_slow": 504,
    "out_of_time": 504,  # the function's own time was up before this photograph's turn
}

MAX_BYTES = 20_000_000  # of one photograph, fetched or sent

_OF_PHOTOGRAPH = {"unsupported": "not_an_image", "too_large": "too_large", "undecodable": "undecodable"}


class ServiceError(Exception):
    """A request, or one photograph of it, that gets an error for an answer.

    Attributes:
        code: a key of `STATUS`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return STATUS[self.code]

    def to_json(self) -> dict[str, Any]:
        """As the service and the shell answer it."""
        return {"error": {"code": self.code, "status": self.status, "message": str(self)}}


def classify(model: SceneModel, photograph: bytes) -> Classification:
    """Classifies an image file's bytes.

    Raises:
        ServiceError: the bytes are not a usable photograph.
    """
    if len(photograph) > MAX_BYTES:
        raise ServiceError("too_large", f"The photograph is larger than {MAX_BYTES / 1e6:.0f} MB.")
    try:
        pixels = load_image(photograph, model.size)
    except ImageError as error:
        message = str(error)
        raise ServiceError(_OF_PHOTOGRAPH[error.reason], f"{message[0].upper()}{message[1:]}.") from None
    return model.classify(pixels)


def fetch_photograph(url: str, policy: Policy | None = None, deadline_s: float | None = None) -> bytes:
    """Fetches a photograph's bytes from a URL, by the rules of `containerize_deploy.fetching`.

    Args:
        url: absolute http or https URL.
        policy: what may be fetched; by default what the environment says.
        deadline_s: seconds for everything; at most, and by default, `fetching.DEADLINE_S`.

    Raises:
        ServiceError: the URL is not allowed or the fetch failed.
    """
    # Imported late: TLS costs 30 ms at a cold start, and a request that brings its photograph needs none.
    from containerize_deploy import fetching

    try:
        return fetching.fetch(
            url,
            policy or fetching.Policy.from_environment(),
            deadline_s=min(fetching.DEADLINE_S, deadline_s or fetching.DEADLINE_S),
            max_bytes=MAX_BYTES,
        )
    except fetching.FetchError as error:
        raise ServiceError(error.reason, str(error)) from None
