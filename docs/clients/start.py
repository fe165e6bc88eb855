# Starts the runtime and waits until it is ready.
import json, os, sys, urllib.error, urllib.request, uuid

headers = {"Authorization": "Bearer " + os.environ["TOKEN"], "Prefer": "wait=50", "Idempotency-Key": str(uuid.uuid4())}
request = urllib.request.Request(os.environ["VM_URL"] + "/api/v1/vm/start", headers=headers, method="POST")
try:
    while True:  # not yet: wait again, under the same key, which starts it once
        with urllib.request.urlopen(request, timeout=120) as answer:
            if answer.status == 200:
                print(json.load(answer)["status"]["state"])
                break
except urllib.error.HTTPError as refused:
    error = json.load(refused)["error"]
    sys.exit(f"{refused.code} {error['type']}: {error['message']} outcome: {error.get('outcome')}, request {error['request_id']}")
