"""JSON-RPC 2.0 over Redis pub/sub, as the original platform speaks it."""

from band.rpc.client import RpcClient, Scatter
from band.rpc.server import RpcServer

__all__ = ["RpcClient", "RpcServer", "Scatter"]
