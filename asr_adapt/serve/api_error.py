"""`ApiError`: an error response in the shape of OpenAI's API; and how unexpected errors are logged."""

import logging
import traceback

from starlette.responses import JSONResponse

_CODES = {400: "invalid_request", 401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: One line for the client.
        code: Machine-readable error code; by default that of the status.
        param: The form field that caused the error.
        retry_after_s: When the client may retry, in seconds.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", param: str | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(status, message)
        self.status, self.message, self.param = status, message, param
        self.code = code or _CODES.get(status, "error")
        self.headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        if status == 401:
            self.headers["WWW-Authenticate"] = "Bearer"

    def body(self) -> dict[str, dict[str, str | None]]:
        """Return the error as a JSON object."""
        if self.status == 429:
            kind = "rate_limit_error"
        else:
            kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}

    def response(self) -> JSONResponse:
        """Return the error as an HTTP response."""
        return JSONResponse(self.body(), self.status, self.headers)


def log_unexpected(log: logging.Logger, error: BaseException, what: str) -> ApiError:
    """Log the traceback of a failure without its message, which may contain request data; return the response."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    places = " > ".join(f"{frame.filename}:{frame.lineno}" for frame in frames)
    log.error("%s: %s: %s", what, type(error).__name__, places)
    return ApiError(500, "The server failed on this request.", code="internal_error")
