"""JSON-RPC 2.0 over Redis pub/sub, as the original platform speaks it."""

from band.jsonrpc.client import RpcClient
from band.jsonrpc.pending import Scatter
from band.jsonrpc.server import RpcServer

__all__ = ["RpcClient", "RpcServer", "Scatter"]
