# Starts the runtime and waits until it is ready.
import http.client, json, os, sys, time, urllib.error, urllib.request, uuid

url, token = os.environ.get("VM_URL"), os.environ.get("TOKEN")
if not url or not token:
    sys.exit("set VM_URL and TOKEN")

headers = {"Authorization": "Bearer " + token, "Prefer": "wait=50", "Idempotency-Key": str(uuid.uuid4())}
try:
    request = urllib.request.Request(url + "/api/v1/vm/start", headers=headers, method="POST")
    while (answer := urllib.request.urlopen(request, timeout=120)).status == 202:
        answer.close()  # not yet: ask again, under the same key, which starts it once
        time.sleep(int(answer.headers["Retry-After"] or 1))
    print(json.load(answer)["status"]["state"])
except urllib.error.HTTPError as refused:
    sys.exit(f"{refused.code} {refused.read().decode()}")
except (OSError, ValueError, http.client.HTTPException) as failed:
    sys.exit(f"{url}: {failed}")
