"""`Refusal`: an answer that is an error, in OpenAI's shape."""

from starlette.responses import JSONResponse

_CODES = {400: "invalid_request", 401: "invalid_api_key", 404: "not_found", 405: "method_not_allowed"}


class Refusal(Exception):
    """A request that is answered with an error.

    Args:
        status: HTTP status.
        message: One line for the client.
        code: A word for the client's program; by default the status's own.
        param: The form field that is to blame.
        retry_after_s: When to come again.
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
        """Return it as an answer."""
        return JSONResponse(self.body(), self.status, self.headers)
