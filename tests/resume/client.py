"""A client in Python that comes back by itself: prints each event as a line of JSON.

    python client.py URL
"""

import json
import sys
import time

import requests
from sseclient import SSEClient

client = None
while True:
    try:
        client = SSEClient(sys.argv[1], last_id=client and client.last_id, retry=200)
        for event in client:
            if event.data:
                line = {"type": event.event, "data": json.loads(event.data), "id": client.last_id}
                print(json.dumps(line), flush=True)
    # The library gives up if it cannot connect; its last_id is still there.
    except requests.RequestException:
        time.sleep(0.2)
