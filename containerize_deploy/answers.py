"""What the service answers, to the Lambda function's callers and to the shell; `answer.schema.json` describes it."""

from typing import Any

from containerize_deploy.scene_model import Classification, SceneModel
from data_prep_eda.preprocessing import ImageError, load_image

# Error codes and the HTTP status that each one travels under.
STATUS = {
    "malformed": 400,  # the request is not one of the documented forms
    "not_allowed": 403,  # the address leads where the service does not fetch from
    "not_found": 404,
    "method_not_allowed": 405,
    "too_large": 413,  # too many bytes, pixels, images or requests
    "not_an_image": 415,
    "undecodable": 422,  # an image, but damaged
    "internal": 500,
    "upstream_failed": 502,  # the image's address did not deliver it
    "upstream_slow": 504,
    "out_of_time": 504,  # the function's own time was up before this image's turn
}


class ServiceError(Exception):
    """A request, or one image of it, that gets an error for an answer; `code` is a key of `STATUS`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.status = code, STATUS[code]

    def to_json(self) -> dict[str, Any]:
        """As the service and the shell answer it."""
        return {"error": {"code": self.code, "status": self.status, "message": str(self)}}


def classify_bytes(model: SceneModel, content: bytes) -> Classification:
    """Classifies an image file's bytes.

    Raises:
        ServiceError: the bytes are not a usable image.
    """
    try:
        pixels = load_image(content, model.size)
    except ImageError as error:
        code, message = error.reason.replace("unsupported", "not_an_image"), str(error)
        raise ServiceError(code, f"{message[0].upper()}{message[1:]}.") from None
    return model.classify(pixels)
