"""A published tree in a bucket of any S3-compatible store. Home of boto3. Source: specs/ledger.md §16."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as Unreachable

from creditledger.errors import BusyError, IntegrityError, MalformedRecordError, StorageError
from creditledger.ledger.publish import CHECKPOINT
from creditledger.ledger.tree_place import Found

SCHEME: Final = "s3://"
ATTEMPTS: Final = 5
TIMEOUT_SECONDS: Final = 30
_ABSENT: Final = (404,)
_TAKEN: Final = (409, 412)
_REMOVED_AT_ONCE: Final = 1_000
_FOR_EVER: Final = "public, max-age=31536000, immutable"
_FRESH: Final = "public, max-age=1, must-revalidate"


class BucketPlace:
    """A `TreePlace` below a prefix of a bucket. Credentials and region are the environment's, as for boto3.

    Safe to use from several threads."""

    __slots__ = ("_bucket", "_client", "_prefix", "_url")

    def __init__(self, url: str, *, endpoint_url: str | None = None) -> None:
        """``url``: ``s3://bucket/prefix``. ``endpoint_url``: of a store that is not Amazon's.

        Raises MalformedRecordError, StorageError."""
        bucket, _, prefix = url.removeprefix(SCHEME).partition("/")
        if not url.startswith(SCHEME) or not bucket:
            raise MalformedRecordError("not a bucket", expected="s3://BUCKET/PREFIX", found=ascii(url[:100]))
        prefix = prefix.strip("/")
        self._url, self._bucket, self._prefix = url, bucket, f"{prefix}/" if prefix else ""
        config = Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
        )
        with self._errors("the client"):
            self._client = boto3.client("s3", endpoint_url=endpoint_url, config=config)

    def find(self, path: str, *, most: int) -> Found | None:
        with self._errors(path):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + path)
            except ClientError as error:
                if _status(error) in _ABSENT and _code(error) != "NoSuchBucket":
                    return None
                raise
            with answer["Body"] as body:
                content: bytes = body.read(most + 1)
        if len(content) > most:
            raise IntegrityError("a published file is too long", expected=f"at most {most}", found=path)
        return Found(content=content, tag=answer["ETag"])

    def create(self, path: str, content: bytes) -> bool:
        return self._put(path, content, IfNoneMatch="*")

    def replace(self, path: str, content: bytes, *, found: Found | None) -> bool:
        return self._put(path, content, **({"IfNoneMatch": "*"} if found is None else {"IfMatch": found.tag}))

    def remove_below(self, prefix: str) -> None:
        with self._errors(prefix):
            listed = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self._prefix + prefix, MaxKeys=_REMOVED_AT_ONCE
            )
            names = [{"Key": one["Key"]} for one in listed.get("Contents", ())]
            if names:
                self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": names, "Quiet": True})

    def _put(self, path: str, content: bytes, **condition: str) -> bool:
        is_note = path == CHECKPOINT
        with self._errors(path):
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=self._prefix + path,
                    Body=content,
                    ContentType="text/plain; charset=utf-8" if is_note else "application/octet-stream",
                    CacheControl=_FRESH if is_note else _FOR_EVER,
                    **condition,
                )
            except ClientError as error:
                if _status(error) in _TAKEN:
                    return False
                raise
        return True

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        """boto3 has tried again where that helps; what it ends with is for later, or for who set it up."""
        try:
            yield
        except ClientError as error:
            status = _status(error)
            kind = BusyError if status >= 500 or status in (408, 429) else StorageError
            message = f"the bucket refuses {what}: {_code(error)}"
            raise kind(message, expected=self._url, found=f"status {status}") from error
        except BotoCoreError as error:
            away = BusyError if isinstance(error, Unreachable | HTTPClientError) else StorageError
            raise away(f"the bucket cannot be used: {type(error).__name__}", expected=self._url) from error


def _status(error: ClientError) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])


def _code(error: ClientError) -> str:
    return str(error.response["Error"].get("Code", ""))[:60]
