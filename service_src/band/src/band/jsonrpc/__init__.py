"""JSON-RPC 2.0 over Redis pub/sub, as the original platform speaks it.

`client` calls others, `server` runs the calls that are for this replica, `instances` knows the replicas of services.
"""

from band.jsonrpc.client import RpcClient
from band.jsonrpc.pending import Scatter
from band.jsonrpc.server import RpcServer

__all__ = ["RpcClient", "RpcServer", "Scatter"]
