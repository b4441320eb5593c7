"""The service's own description, for tools that read OpenAPI 3.1. Source: specs/service.md §2."""

import json
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from creditledger import __version__
from creditledger.service.pool.appending import MSGPACK
from creditledger.service.pool.problems import MEDIA_TYPE

Schema = dict[str, Any]
_HEX: Final[Schema] = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_NUMBER: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXT: Final[Schema] = {"type": "string"}
_BYTES: Final[Schema] = {"type": "string", "contentMediaType": "application/octet-stream"}


def description() -> Schema:
    """The whole document."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "creditledger", "version": __version__, "license": {"name": "Apache-2.0"}},
        "paths": _appends() | _reads() | _admissions() | _evidence() | _files() | _watches(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def openapi_routes() -> list[BaseRoute]:
    """`GET /openapi.json`."""
    content = json.dumps(description()).encode()

    async def show(request: Request) -> Response:
        return Response(content, media_type="application/json", headers={"cache-control": "no-cache"})

    return [Route("/openapi.json", show, methods=["GET"])]


def _appends() -> Schema:
    refusals = (400, 402, 403, 404, 408, 409, 410, 413, 415, 422, 503, 507)
    one = _content("application/json", _ref("Logged"))
    return {
        "/v1/records": {
            "post": _append("Log records", {"200": _content("application/json", _ref("Outcomes"))}, refusals)
        },
        "/v1/holds": {"post": _append("Log a hold", {"201": one}, refusals)},
        "/v1/holds/{id}/capture": {
            "parameters": [_id("the hold's digest", _TEXT)],
            "post": _append("Log a capture of a hold", {"201": one}, refusals),
        },
        "/v1/holds/{id}/release": {
            "parameters": [_id("the hold's digest", _TEXT)],
            "post": _append("Log a release of a hold", {"201": one}, refusals),
        },
    }


def _reads() -> Schema:
    found = {"type": "object"}
    absent = {"name": "absent", "in": "query", "schema": {"enum": ["1"]}}
    account = _id("a hex id or registered name", _TEXT)
    return {
        "/v1/accounts/{id}": {
            "parameters": [account],
            "get": _read("What an account has", found, (404, 503)),
        },
        "/v1/receipts/{id}": {
            "parameters": [_id("the receipt's digest", _TEXT)],
            "get": _read("What is believed of a receipt", found, (404, 503)),
        },
        "/v1/bundles/{id}": {
            "parameters": [_id("what is to be proven", _TEXT)],
            "get": _operation(
                "A proof for readers with the policy",
                {"200": _content("application/octet-stream", _BYTES)},
                (400, 404, 503),
            )
            | {"parameters": [absent]},
        },
        "/v1/rounds/latest": {"get": _read("The latest round", found, (404, 503))},
        "/v1/status": {"get": _read("How far the ledger has come", found, (503,))},
    }


def _admissions() -> Schema:
    standing = _content("application/json", _ref("Admission"))
    wanted = {"required": True, "content": {"application/json": {"schema": _ref("AdmissionRequest")}}}
    asked = _operation(
        "Ask to be admitted", {"200": standing, "202": standing}, (400, 404, 409, 415, 422, 503)
    )
    return {
        "/v1/admissions": {"post": asked | {"requestBody": wanted}},
        "/v1/admissions/{id}": {
            "parameters": [_id("the account", _HEX)],
            "get": _read("What became of a request to join", _ref("Admission"), (404, 503)),
        },
    }


def _evidence() -> Schema:
    """Of signed requests: nobody without a key gets more than a refusal."""
    refusals = (400, 403, 404, 405, 409, 410, 411, 422, 503, 507)
    written = _content("application/json", _object({"name": _TEXT, "bytes": _NUMBER}))
    shown = {"200": _content("application/octet-stream", _BYTES)}
    signed = {"name": "creditledger-request", "in": "header", "required": True, "schema": _TEXT}
    digest = {"name": "content-digest", "in": "header", "required": True, "schema": _TEXT}
    body = {"required": True, "content": {"application/octet-stream": {"schema": _BYTES}}}
    bring = _operation("Bring evidence", {"200": written, "201": written}, refusals)
    show = {"get": _operation("Show evidence", shown, refusals) | {"parameters": [signed]}}
    put = {"put": bring | {"parameters": [signed, digest], "requestBody": body}}
    root, account = _id("an input root", _HEX), _id("who brought it", _HEX) | {"name": "account"}
    name = {"type": "string", "pattern": "^[0-9a-f]{64}-[0-9]{1,18}-[0-9]{1,4}$"}
    paths: Schema = {}
    for kind in ("inputs", "handover"):
        paths[f"/v1/evidence/{kind}/{{id}}"] = {"parameters": [root]} | show | put
        paths[f"/v1/evidence/{kind}/{{id}}/{{account}}"] = {"parameters": [root, account]} | show
    for kind in ("sealed", "profile"):
        paths[f"/v1/evidence/{kind}/{{id}}"] = {"parameters": [_id("its digest", _HEX)]} | show
    refutation = {"parameters": [_id("receipt, round and member", name)]}
    return paths | {"/v1/evidence/refutations/{id}": refutation | show | put}


def _files() -> Schema:
    text = {"200": _content("text/plain", _TEXT), "304": {"description": "As it was"}}
    content = {"200": _content("application/octet-stream", _BYTES)}
    path = {"name": "path", "in": "path", "required": True, "schema": _TEXT, "description": "C2SP tlog-tiles"}
    return {
        "/checkpoint": {"get": _operation("The signed checkpoint", text, (404, 503))},
        "/policy": {"get": _operation("What readers are told to trust", text, (404, 503))},
        "/tile/{path}": {"parameters": [path], "get": _operation("A tile of the log", content, (404, 503))},
        "/batch/{id}": {
            "parameters": [_id("the bodies' digest", _TEXT)],
            "get": _operation("Bodies beside a record", content, (404, 503)),
        },
    }


def _watches() -> Schema:
    health = _content("application/json", _ref("Health"))
    return {
        "/healthz": {"get": {"summary": "Whether it works", "responses": {"200": health, "503": health}}},
        "/metrics": {"get": _operation("Prometheus metrics", {"200": _content("text/plain", _TEXT)}, (503,))},
        "/openapi.json": {"get": _read("This document", {"type": "object"}, (503,))},
    }


def _schemas() -> Schema:
    error = dict.fromkeys(("error", "message", "expected", "found"), _TEXT) | {"exit": _NUMBER}
    logged = {"index": _NUMBER, "leaf_hash": _HEX}
    problem = dict.fromkeys(("type", "title", "detail", "error", "expected", "found"), _TEXT)
    checkpoint = {"size": _NUMBER, "age_ms": _NUMBER}
    signature = {"type": "string", "pattern": "^[0-9a-f]{128}$"}
    wanted = {
        "account": _HEX,
        "name": _TEXT,
        "role": {"enum": ["node", "client", "queue"]},
        "proof": signature,
    }
    standing = {"account": _HEX, "state": {"enum": ["waiting", "admitted", "refused", "registered"]}}
    return {
        "AdmissionRequest": _object(wanted),
        "Admission": _object(standing) | {"properties": standing | {"admission": _TEXT}},
        "Problem": _object(problem | {"status": _NUMBER, "exit": _NUMBER}),
        "Logged": _object(logged | {"digest": _HEX}),
        "Outcomes": _object(
            {"outcomes": {"type": "array", "items": {"oneOf": [_object(logged), _object(error)]}}}
        ),
        "Health": _object(
            {
                "ok": {"type": "boolean"},
                "state": {"enum": ["serving", "stale", "full", "failed"]},
                "checkpoint": _object(checkpoint),
                "backends": {"type": "object", "additionalProperties": _TEXT},
                "version": _TEXT,
            }
        ),
    }


def _append(summary: str, answers: Schema, refusals: tuple[int, ...]) -> Schema:
    key = {
        "name": "idempotency-key",
        "in": "header",
        "schema": {"type": "string", "pattern": "^[!-~]{1,64}$"},
    }
    body = {"required": True, "content": {MSGPACK: {"schema": _BYTES}}}
    return _operation(summary, answers, refusals) | {"parameters": [key], "requestBody": body}


def _read(summary: str, schema: Schema, refusals: tuple[int, ...]) -> Schema:
    return _operation(summary, {"200": _content("application/json", schema)}, refusals)


def _operation(summary: str, answers: Schema, refusals: tuple[int, ...]) -> Schema:
    everywhere = (401, 403, 408, 413, 414, 429, 431)
    statuses = sorted({*refusals, *everywhere})
    problems = {str(status): _content(MEDIA_TYPE, _ref("Problem")) for status in statuses}
    return {"summary": summary, "responses": answers | problems}


def _content(media_type: str, schema: Schema) -> Schema:
    return {"description": "As said", "content": {media_type: {"schema": schema}}}


def _id(what: str, schema: Schema) -> Schema:
    return {"name": "id", "in": "path", "required": True, "schema": schema, "description": what}


def _object(properties: Schema) -> Schema:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}
