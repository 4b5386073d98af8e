"""What the server of loading processes imports: each process then has a client of S3 in moments."""

from __future__ import annotations

from botocore.config import Config

from ownlens_plugins.aws import AwsKeys, new_client

new_client(AwsKeys("none", "none"), region_name="us-east-1", config=Config(signature_version="s3v4"))
