"""The settings of WebSocket connections, one module for each table.

Times are in seconds, with fractions down to a millisecond. URLs, header values and query values may be secret: no
`repr` and no message shows them.

TOML has no null. Where a value may be `None`, the words "none" and "off" stand for it, in upper or lower case: `port`,
`connect_timeout`, `heartbeat`, `silence_timeout`, `max_message_size`, `codec`, `proxy`, `unix_socket`, `local_address`,
`tls`, its files and `tls.server_hostname`, `send_queue.max_messages`, `send_queue.time_to_live` and
`reconnect.max_attempts`.
"""

from rxnodes.websocket.settings.connection import ConnectionSettings
from rxnodes.websocket.settings.reconnect import ReconnectSettings
from rxnodes.websocket.settings.section import WebSocketSettings
from rxnodes.websocket.settings.send_queue import SendQueueSettings
from rxnodes.websocket.settings.tls import TlsSettings

__all__ = ["ConnectionSettings", "ReconnectSettings", "SendQueueSettings", "TlsSettings", "WebSocketSettings"]
