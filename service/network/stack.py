"""Settings that pynetdicom keeps in module globals, made once, where the library is first imported.

Its default event log writes whole requests and identifiers, which hold patient data.
"""

from __future__ import annotations

import logging

from pynetdicom import _config

_config.LOG_HANDLER_LEVEL = "none"
_config.LOG_REQUEST_IDENTIFIERS = False
_config.LOG_RESPONSE_IDENTIFIERS = False
# Files are sent as they are, in PDU-sized pieces, without being decoded.
_config.STORE_SEND_CHUNKED_DATASET = True
# Its warnings quote element values; what matters here is logged by this package itself.
logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)

IMPLEMENTATION_CLASS_UID = "2.25.124370893227312893214507846283370281117"
"""Names this software in associations (PS3.7 D.3.3.2); a UUID-derived UID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION_NAME = "CSF24_0"
