"""What services of the original platform use of jsonrpcclient 2: the error that ``rpc.request`` raises."""

from jsonrpcclient import exceptions

__all__ = ["exceptions"]
