"""What destination authors test with."""

from .samples import EVERY_TYPE, canonical_rows, make_plan, sample_contract, sample_rows, sample_table

__all__ = ["EVERY_TYPE", "canonical_rows", "make_plan", "sample_contract", "sample_rows", "sample_table"]
