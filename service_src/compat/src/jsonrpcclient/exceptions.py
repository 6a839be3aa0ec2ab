"""The errors of jsonrpcclient 2, as the names that they have in band."""

from band.errors import RpcError, RpcRemoteError

JsonRpcClientError = RpcError
ReceivedErrorResponse = RpcRemoteError
ReceivedErrorResponseError = RpcRemoteError

__all__ = ["JsonRpcClientError", "ReceivedErrorResponse", "ReceivedErrorResponseError"]
