"""What services of the original platform use of jsonrpcclient 2: the error that ``rpc.request`` raises."""

from band.compat.jsonrpcclient import exceptions

__all__ = ["exceptions"]
