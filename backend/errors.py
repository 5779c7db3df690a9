"""Errors as the API shows them: RFC 9457 problem bodies with a stable code and a way out.

Services raise classes derived from `Problem`, defined beside the service; this module turns them, and the
errors of the framework, into one shape: type, title, status, detail, code, advice, request_id.
"""

from __future__ import annotations

import errno
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from backend.db import is_unreachable
from backend.problem import Problem
from engine.errors import EngineError

log = logging.getLogger(__name__)

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
PROBLEM_JSON = "application/problem+json"
RETRY_DATABASE_SECONDS = 5


class ProblemBody(BaseModel):
    """What every error looks like (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "type": "about:blank",
                "title": "Not Found",
                "status": 404,
                "detail": "There is no such task.",
                "code": "task_not_found",
                "advice": "Check the id; GET /api/v1/history lists your tasks.",
                "request_id": "0198c5d2-7c1a-7d43-9b0e-6a1f0c9e2b11",
            }
        }
    )

    type: str = Field(description="A URI for the kind of problem; about:blank when the code says it all")
    title: str
    status: int
    detail: str = Field(description="A sentence for people")
    code: str = Field(description="Stable, for programs")
    advice: str = Field(description="What to do next")
    request_id: str
    errors: list[dict[str, Any]] | None = Field(None, description="With 422: each field that is wrong, and why")


ENGINE_STATUS = {
    "audio_undecodable": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "audio_empty": HTTPStatus.UNPROCESSABLE_ENTITY,
    "audio_too_long": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "audio_hostile": HTTPStatus.UNPROCESSABLE_ENTITY,
    "decoder_crashed": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unknown_model": HTTPStatus.UNPROCESSABLE_ENTITY,
    "output_unsupported": HTTPStatus.UNPROCESSABLE_ENTITY,
}

HTTP_ADVICE = {
    404: ("route_not_found", "See /docs for the routes that exist."),
    405: ("method_not_allowed", "See /docs for the methods of this route."),
    413: ("body_too_large", "Send less; songs go to POST /api/v1/uploads."),
}

LIMIT_HEADERS = {
    "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}},
    "RateLimit": {"description": "What is left under each limit, and when there is more", "schema": {"type": "string"}},
    "RateLimit-Policy": {"description": "The limits that count for this sender", "schema": {"type": "string"}},
}


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    advice: str,
    *,
    headers: dict[str, str] | None = None,
    **more: Any,
) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "detail": detail,
        "code": code,
        "advice": advice,
        "request_id": request.scope.get("request_id", ""),
        **more,
    }
    return JSONResponse(body, status_code=status, headers=headers, media_type=PROBLEM_JSON)


class PublicFailure:
    """The handlers, one for each family of exceptions."""

    @staticmethod
    async def problem(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)
        headers, more = dict(error.headers), {}
        if error.field is not None:
            more["errors"] = [{"field": f"body.{error.field}", "message": str(error), "kind": error.code}]
        return problem_response(request, error.status, error.code, str(error), error.advice, headers=headers, **more)

    @staticmethod
    async def engine(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, EngineError)
        status = ENGINE_STATUS.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)
        return problem_response(request, status, error.code, str(error), error.advice)

    @staticmethod
    async def validation(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)
        errors = [
            {"field": ".".join(map(str, e["loc"])), "message": e["msg"], "kind": e["type"]} for e in error.errors()
        ]
        detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors) or "The request is not well formed."
        return problem_response(
            request,
            422,
            "invalid_request",
            detail,
            "Correct the fields that are named; /docs shows each request.",
            errors=errors,
        )

    @staticmethod
    async def http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        if error.status_code == HTTPStatus.BAD_REQUEST:  # the framework's word for a body that it can't read
            return await PublicFailure.validation(request, RequestValidationError([]))
        code, advice = HTTP_ADVICE.get(error.status_code, ("http_error", "See /docs."))
        headers = dict(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (allowed := _allowed(request)):
            headers["Allow"] = ", ".join(allowed)
        return problem_response(request, error.status_code, code, f"{error.detail}.", advice, headers=headers)

    @staticmethod
    async def gone(request: Request, error: Exception) -> JSONResponse:
        """Nobody is there to read it; the server only wants an answer to throw away."""
        return problem_response(request, 400, "client_disconnected", "The client went away.", "Send it again.")

    @staticmethod
    async def database(request: Request, error: Exception) -> JSONResponse:
        if not is_unreachable(error):
            return await PublicFailure.unexpected(request, error)
        log.warning("database unreachable: %s", type(error).__name__)
        return problem_response(
            request,
            503,
            "database_unavailable",
            "The database can't be reached at the moment; nothing was changed.",
            f"Send the same request again in {RETRY_DATABASE_SECONDS} seconds.",
            headers={"Retry-After": str(RETRY_DATABASE_SECONDS)},
        )

    @staticmethod
    async def system(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, OSError)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            return await PublicFailure.unexpected(request, error)
        log.error("no room left on the disk")
        return problem_response(
            request,
            507,
            "storage_full",
            "There is no room left for this; nothing was changed.",
            "Try again later; if it goes on, tell the operator.",
        )

    @staticmethod
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.error("unhandled error in %s %s", request.method, request.url.path, exc_info=error)
        return problem_response(
            request,
            500,
            "internal_error",
            "Something went wrong on our side.",
            "Try again; if it happens again, report the request_id.",
        )


def _allowed(request: Request) -> list[str]:
    """Of all the routes at this address; the framework knows those of the first."""
    routes = request.app.router.routes

    def answered(method: str) -> bool:
        scope = {**request.scope, "method": method}
        return any(route.matches(scope)[0] is Match.FULL for route in routes)

    return [method for method in METHODS if answered(method)]


def install(app: FastAPI) -> None:
    app.add_exception_handler(Problem, PublicFailure.problem)
    app.add_exception_handler(EngineError, PublicFailure.engine)
    app.add_exception_handler(RequestValidationError, PublicFailure.validation)
    app.add_exception_handler(HTTPException, PublicFailure.http)
    app.add_exception_handler(ClientDisconnect, PublicFailure.gone)
    app.add_exception_handler(SQLAlchemyError, PublicFailure.database)
    app.add_exception_handler(OSError, PublicFailure.system)
    app.add_exception_handler(Exception, PublicFailure.unexpected)


def describes(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI `responses` for the errors that a route may give."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "model": ProblemBody,
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
            **({"headers": LIMIT_HEADERS} if status == HTTPStatus.TOO_MANY_REQUESTS else {}),
        }
        for status in statuses
    }
