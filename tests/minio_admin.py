"""What a MinIO server's owner does before a loader may come: users, policies, quotas and temporary keys."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from hashlib import pbkdf2_hmac
from http import HTTPStatus
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import boto3
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .minio_server import MinioServer

# The admin API takes a new user's secret encrypted with the owner's: salt, kind of encryption, nonce, fragments.
_PBKDF2_AES_GCM = b"\x02"
_ROUNDS = 8192
_PATIENCE_SECONDS = 30


@dataclass(frozen=True)
class MinioAdmin:
    """The owner of a server. Users get one policy each."""

    server: MinioServer

    def add_user(self, name: str, secret: str, policy: dict[str, Any]) -> None:
        content = json.dumps({"secretKey": secret, "status": "enabled"}).encode()
        self._put("add-user", _sealed(self.server.secret_key, content), accessKey=name)
        self.set_policy(name, policy)

    def set_policy(self, user: str, policy: dict[str, Any]) -> None:
        """Give a user this policy instead of the one before."""
        self._put("add-canned-policy", json.dumps(policy).encode(), name=f"of-{user}")
        self._put("set-user-or-group-policy", b"", policyName=f"of-{user}", userOrGroup=user, isGroup="false")

    def disable(self, user: str) -> None:
        """Refuse a user, and all temporary keys that the user got, from now on."""
        self._put("set-user-status", b"", accessKey=user, status="disabled")

    def limit(self, bucket: str, size: int) -> None:
        """Set how many bytes a bucket may hold; 0 for no limit."""
        self._put("set-bucket-quota", json.dumps({"quota": size, "quotatype": "hard"}).encode(), bucket=bucket)

    def temporary_keys(self, user: str, secret: str) -> dict[str, str]:
        """Return a user's temporary keys, as settings of the lake."""
        sts = boto3.session.Session().client(
            "sts",
            endpoint_url=self.server.endpoint,
            region_name="us-east-1",
            aws_access_key_id=user,
            aws_secret_access_key=secret,
        )
        keys = sts.assume_role(RoleArn="arn:aws:iam::0:role/any", RoleSessionName="test")["Credentials"]
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        settings = ("access_key_id", "secret_access_key", "session_token")
        return {setting: keys[name] for setting, name in zip(settings, names, strict=True)}

    def _put(self, action: str, content: bytes, **query: str) -> None:
        url = f"{self.server.endpoint}/minio/admin/v3/{action}?{urlencode(query)}"
        request = AWSRequest("PUT", url, data=content)
        S3SigV4Auth(Credentials(self.server.access_key, self.server.secret_key), "s3", "us-east-1").add_auth(request)
        until = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                urlopen(Request(url, content, dict(request.headers.items()), method="PUT"), timeout=10).close()
            except HTTPError as error:  # a server that has just started serves objects before users
                if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.monotonic() > until:
                    raise
                time.sleep(0.1)
            else:
                return


def _sealed(password: str, content: bytes) -> bytes:
    salt, nonce = os.urandom(32), os.urandom(8)
    cipher = AESGCM(pbkdf2_hmac("sha256", password.encode(), salt, _ROUNDS, 32))
    checked = cipher.encrypt(nonce + (0).to_bytes(4, "little"), b"", None)
    fragment = cipher.encrypt(nonce + (1).to_bytes(4, "little"), content, b"\x80" + checked)
    return salt + _PBKDF2_AES_GCM + nonce + fragment
