"""What workers elsewhere know of S3: their own AWS environment, or else the driver's.

Parts that are staged on S3 are reached as the environment says, and so is a lake without keys of its own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

# Whoever has one of these is somebody to AWS, and stays so.
_IDENTITIES = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
# No paths but that of certificates, which has to be the same on all nodes.
_CARRIED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_CA_BUNDLE",
)
# A worker process serves many tasks: what an earlier one adopted may have expired.
_ADOPTED = "OWNLENS_ADOPTED_AWS"


def carried() -> dict[str, str]:
    """Return what this process would hand to workers; it holds secrets."""
    return {name: os.environ[name] for name in _CARRIED if name in os.environ}


def adopt(given: Mapping[str, str]) -> None:
    """Take over the driver's environment, all of it or nothing: a key with another's endpoint is of no use."""
    if _ADOPTED not in os.environ and any(name in os.environ for name in _IDENTITIES):
        return
    if not given:
        return
    for name in _CARRIED:
        os.environ.pop(name, None)
    os.environ.update(given)
    os.environ[_ADOPTED] = "1"
